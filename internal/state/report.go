// SPDX-License-Identifier: Apache-2.0

package state

import (
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// littleRoom is the field of a subscriber's node metadata in which an agent says which of its
// maps are nearly full.
const littleRoom = "fairlead.io/little-room"

// ReportRoom writes into the Node of a request which of the agent's maps are nearly full, in
// words for people; empty: none is.
func ReportRoom(n *core.Node, words string) {
	if n.Metadata == nil {
		n.Metadata = &structpb.Struct{Fields: map[string]*structpb.Value{}}
	}
	n.Metadata.Fields[littleRoom] = structpb.NewStringValue(words)
}

// ReportedRoom reads what ReportRoom wrote; false: the request says nothing of it.
func ReportedRoom(n *core.Node) (words string, ok bool) {
	v, ok := n.GetMetadata().GetFields()[littleRoom]
	return v.GetStringValue(), ok
}
