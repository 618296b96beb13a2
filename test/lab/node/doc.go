// SPDX-License-Identifier: Apache-2.0

// Package node plays a machine with namespaces: its own network, mounts, processes, host name, IPC
// and cgroups, a root file system that is its own but for the programs of the host, and an init that
// keeps services running. When its init dies, everything in it dies.
//
// Starting one takes three processes: the lab command (Start), a short-lived one that enters the
// machine's cgroup and network namespace (Boot), and the machine's process 1 (Init).
// The package knows nothing of Kubernetes. It must not change the host's mounts, links or sysctls.
package node
