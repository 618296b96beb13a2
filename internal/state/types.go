// SPDX-License-Identifier: Apache-2.0

package state

import (
	"net/netip"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Type URLs of the resources, as subscribers name them in a discovery request.
const (
	LocalNodeType = "type.googleapis.com/fairlead.state.v1.LocalNode"
	PeerNodeType  = "type.googleapis.com/fairlead.state.v1.PeerNode"
	EndpointType  = "type.googleapis.com/fairlead.state.v1.Endpoint"

	ServiceType          = "type.googleapis.com/fairlead.state.v1.Service"
	ServiceEndpointsType = "type.googleapis.com/fairlead.state.v1.ServiceEndpoints"

	AnnouncementType = "type.googleapis.com/fairlead.state.v1.Announcement"

	PolicyType = "type.googleapis.com/fairlead.state.v1.PolicyObject"
)

// AgentTypes are the types that every agent subscribes to, in the order in which
// an agent can use them: policies (a pod that waits for them is connected sooner), itself,
// where the others are, its own pods, Services, the addresses that nodes announce.
var AgentTypes = []string{PolicyType, LocalNodeType, PeerNodeType, EndpointType, ServiceEndpointsType, ServiceType, AnnouncementType}

// MoreFollows is the system_version_info of a response that does not complete its type: of
// what was there when the subscriber came, more follows. A subscriber prunes nothing before
// the first response without it.
const MoreFollows = "more follows"

// EndpointName is the resource name of the endpoint of a pod.
func EndpointName(namespace, name string) string { return namespace + "/" + name }

// AddressName is the resource name of an announcement: the address (4 or 16 bytes) in
// canonical text; empty when it is no address.
func AddressName(packed []byte) string {
	a, ok := netip.AddrFromSlice(packed)
	if !ok {
		return ""
	}
	return a.String()
}

// TypeURL is the type URL under which a message of this package is served.
func TypeURL(m proto.Message) string {
	return "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName())
}

// ShortType is the message's name within a type URL: what people read in logs,
// metrics and messages.
func ShortType(typeURL string) string {
	for i := len(typeURL) - 1; i >= 0; i-- {
		if typeURL[i] == '/' {
			return string(protoreflect.FullName(typeURL[i+1:]).Name())
		}
	}
	return typeURL
}
