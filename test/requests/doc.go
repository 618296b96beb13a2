// SPDX-License-Identifier: Apache-2.0

// Package requests is an HTTP server that leaves without a failed request, and clients that
// count failed ones: at a steady rate, by connections that are kept and by new ones.
//
// It must not know what is done to the network meanwhile.
package requests
