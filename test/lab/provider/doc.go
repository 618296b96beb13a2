// SPDX-License-Identifier: Apache-2.0

// Package provider is Cluster API's provider of the lab: LabCluster and LabMachine (infrastructure),
// LabConfig (bootstrap), LabControlPlane (control plane) and their templates, by the contract v1beta2.
// With them, a Cluster object on the hub becomes a cluster of the lab's machines.
//
// It decides what is to run and reports what does. What a machine is it does not know: the lab starts
// and removes machines for it (Host). It must not touch the kernel or the lab's files itself.
package provider
