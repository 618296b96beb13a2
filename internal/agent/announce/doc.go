// SPDX-License-Identifier: Apache-2.0

// Package announce leads packets for the addresses of load balancers to one node of the
// local segment: that node answers ARP requests and neighbour solicitations for them.
//
// The controller says which nodes may announce an address, in the order of their right to
// (state.Announcement). The first of them that is alive does. Who is alive the agents find
// out among themselves, so that an address moves while no controller is there: each asks
// those before it four times a second, and takes one for dead that leaves six questions
// unanswered. An agent that stops says so, and its successors need not wait.
//
// After a network that fell apart is whole again, two nodes announce an address for no
// longer than it takes to ask once: the one further back hears the other and stops.
//
// Answers come from this process and not from the kernel or a program in it: a node whose
// agent is gone, and which nobody hears from, must not go on claiming its addresses.
//
// Messages between agents are authenticated with a secret that the controller hands to
// agents only. It protects from hosts on the network that would make agents believe that
// others live, or left: an address would be announced by nobody, or by two. It does not
// protect the segment: whoever is on it can answer ARP himself.
//
// election, message and frame are pure. The package knows nothing of Services.
package announce
