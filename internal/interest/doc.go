// SPDX-License-Identifier: Apache-2.0

// Package interest keeps the store's policies in step with the cluster: it gathers what the
// controllers tell of pods, namespaces, nodes and policies, has internal/model/policy compute
// what that means for whom, hands it to internal/serve, and knows when a policy is in force on
// the last node that it concerns. It also takes the addresses of new pods from the nodes that
// gave them, before the API server has them.
//
// It must not decide what a policy means, nor read or write objects.
//
// A replica knows of the agents that are connected to it and speaks for them alone.
package interest
