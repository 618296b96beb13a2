// SPDX-License-Identifier: Apache-2.0

// Package shared presents one real API server as many clusters: each has an address of its
// own, at which it sees its own objects under the names that it gave them.
//
// In the real API server a cluster's namespaces, and the objects that have none, carry a mark
// in their names, and the latter a label, by which the real API server itself tells whose
// they are. Marks go on to what a cluster asks and come off what it is answered. The one
// thing that clusters share is CustomResourceDefinitions. What cannot be told apart is
// refused and counted, never guessed.
//
// Answers are JSON, because they are rewritten: who asks in protobuf gets JSON. No controllers
// run behind an API server alone, so that the package plays them, and kubelets and agents, in
// the real API server. It must not know what the operator is.
package shared
