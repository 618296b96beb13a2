// SPDX-License-Identifier: Apache-2.0

// Package birth has clusters be born, many at once, by what makes them in a real fleet: Cluster
// API's own managers with kubeadm and machines in memory, and the operator as a process of its
// own with the rights of its chart. It insists that each cluster has a number and addresses of
// its own before its first machine is made, whatever happens meanwhile, and measures what that costs.
package birth
