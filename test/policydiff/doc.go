// SPDX-License-Identifier: Apache-2.0

// Package policydiff holds all that stands between the objects of network policy and packets
// against a model that is written from the API's documentation: random clusters, policies and
// changes go through the controller's index, a node's engine and its datapath, and then the
// programs that are attached, the rows, the explanations and real packets must say of each
// connection what the model says.
//
// The model must not import what it judges. It has no index and no classes: it asks every
// policy about every connection.
package policydiff
