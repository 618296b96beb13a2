// SPDX-License-Identifier: Apache-2.0

// Package view is what an agent says of Services, in JSON: the agent writes it, and
// programs anywhere read it, so it depends on nothing.
package view

// Service is what a node thinks of a Service, for people and programs.
type Service struct {
	Namespace string     `json:"namespace"`
	Name      string     `json:"name"`
	Frontends []Frontend `json:"frontends"`
	Backends  []Backend  `json:"backends,omitempty"`
	// Usable and Total count endpoints at ports.
	Usable int `json:"usable"`
	Total  int `json:"total"`
	// Digest is of what the node was told of the Service and its endpoints: nodes with the
	// same digest know the same.
	Digest string `json:"digest"`
}

// Frontend is an address and port of a Service.
type Frontend struct {
	// Address is the unspecified one for every address of the node.
	Address  string `json:"address"`
	Port     uint16 `json:"port"`
	Protocol string `json:"protocol"`
	Kind     string `json:"kind"`
	// Inside counts the backends for clients on the node, Outside those for others.
	Inside          int `json:"inside"`
	Outside         int `json:"outside"`
	AffinitySeconds int `json:"affinitySeconds,omitempty"`
}

// Backend is an endpoint at a port of a Service.
type Backend struct {
	Address     string `json:"address"`
	Port        uint16 `json:"port"`
	PortName    string `json:"portName,omitempty"`
	Protocol    string `json:"protocol"`
	Node        string `json:"node,omitempty"`
	Zone        string `json:"zone,omitempty"`
	Ready       bool   `json:"ready"`
	Serving     bool   `json:"serving"`
	Terminating bool   `json:"terminating"`
	// Inside: it takes connections of clients on the node; Outside: those of others.
	Inside  bool `json:"inside"`
	Outside bool `json:"outside"`
	// Why it takes none; empty if it does.
	Why string `json:"why,omitempty"`
}
