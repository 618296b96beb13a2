// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"net/netip"
)

// LayoutVersion is the version of everything that layout.h describes; maps of another
// version cannot be read.
const LayoutVersion = int(layoutLayoutVersionLAYOUT_VERSION)

// NotesVersion is that of the notes of flows via the stack.
const NotesVersion = int(layoutLayoutVersionNOTES_VERSION)

// TranslatedVersion is that of what tells how Services' connections are translated.
const TranslatedVersion = int(layoutLayoutVersionTRANSLATED_VERSION)

// The types of layout.h. See there for their meaning.
type (
	Address  = layoutAddress
	Endpoint = layoutEndpoint
	RangeKey = layoutRangeKey
	Range    = layoutRange
	Peer     = layoutPeer
	Flow     = layoutFlow
	FlowNote = layoutFlowNote
	Counter  = layoutCounter
	Path     = layoutPath
	State    = layoutState
	// Connection is a row of fl_connections.
	Connection = layoutConnection
	FlowEvent  = layoutFlowEvent

	FrontendKey    = layoutFrontendKey
	Frontend       = layoutFrontend
	Pool           = layoutPool
	Backend        = layoutBackend
	AffinityKey    = layoutAffinityKey
	Affinity       = layoutAffinity
	SourceRangeKey = layoutSourceRangeKey
	SourceRange    = layoutSourceRange
	NodeAddress    = layoutNodeAddress
	SocketOrigin   = layoutSocketOrigin
	DatagramKey    = layoutDatagramKey
	DatagramOrigin = layoutDatagramOrigin
	GoneKey        = layoutGoneKey
	TranslationKey = layoutTranslationKey
	Translation    = layoutTranslation
	FragmentKey    = layoutFragmentKey
	Fragment       = layoutFragment

	// Class is a row of fl_classes, which has the keys of fl_ranges.
	Class     = layoutClass
	PolicyKey = layoutPolicyKey
	Policy    = layoutPolicy
	PortKey   = layoutPortKey
	Verdict   = layoutVerdict
	DropEvent = layoutDropEvent

	Hook   = layoutHook
	Reason = layoutReason
)

// Flags of Range.
const (
	RangeLocal  = uint8(layoutRangeFlagRANGE_LOCAL)
	RangeNative = uint8(layoutRangeFlagRANGE_NATIVE)
)

// Flags of Frontend.
const (
	FrontendSourceRanges = uint8(layoutFrontendFlagFRONTEND_SOURCE_RANGES)
	FrontendKeepSource   = uint8(layoutFrontendFlagFRONTEND_KEEP_SOURCE)
	FrontendClusterIP    = uint8(layoutFrontendFlagFRONTEND_CLUSTER_IP)
	FrontendDropOutside  = uint8(layoutFrontendFlagFRONTEND_DROP_OUTSIDE)
)

// Flags of Backend.
const (
	BackendLocal = uint8(layoutBackendFlagBACKEND_LOCAL)
	BackendPod   = uint8(layoutBackendFlagBACKEND_POD)
)

// Flags of Translation.
const (
	TranslationReply   = uint8(layoutTranslationFlagTRANSLATION_REPLY)
	TranslationSeen    = uint8(layoutTranslationFlagTRANSLATION_SEEN)
	TranslationClosing = uint8(layoutTranslationFlagTRANSLATION_CLOSING)
	TranslationForward = uint8(layoutTranslationFlagTRANSLATION_FORWARD)
)

// Kinds of Path.
const (
	PathNone   = uint8(layoutPathKindPATH_NONE)
	PathPod    = uint8(layoutPathKindPATH_POD)
	PathNative = uint8(layoutPathKindPATH_NATIVE)
	PathTunnel = uint8(layoutPathKindPATH_TUNNEL)
)

// PathFromTunnel is a flag of Path.
const PathFromTunnel = uint8(layoutPathFlagPATH_FROM_TUNNEL)

// Flags of Connection; the first two are shifted by one for direction 1.
const (
	ConnectionSeen = uint8(layoutConnectionFlagCONNECTION_SEEN)
	ConnectionFin  = uint8(layoutConnectionFlagCONNECTION_FIN)
	ConnectionRst  = uint8(layoutConnectionFlagCONNECTION_RST)
)

// Verdicts of Connection.
const (
	ConnectionOpened  = uint8(layoutConnectionVerdictCONNECTION_OPENED)
	ConnectionOpenedB = uint8(layoutConnectionVerdictCONNECTION_OPENED_B)
	ConnectionAllowed = uint8(layoutConnectionVerdictCONNECTION_ALLOWED)
)

// Directions of DropEvent.
const (
	DirectionIngress = uint8(layoutDirectionDIRECTION_INGRESS)
	DirectionEgress  = uint8(layoutDirectionDIRECTION_EGRESS)
)

// What can happen to a row of fl_connections.
const (
	FlowCreated           = layoutFlowEventFLOW_CREATED
	FlowDecidedAnew       = layoutFlowEventFLOW_DECIDED_ANEW
	FlowEvictedClosed     = layoutFlowEventFLOW_EVICTED_CLOSED
	FlowEvictedUnanswered = layoutFlowEventFLOW_EVICTED_UNANSWERED
	FlowTableFull         = layoutFlowEventFLOW_TABLE_FULL
	FlowContended         = layoutFlowEventFLOW_CONTENDED
	FlowEventCount        = layoutFlowEventFLOW_EVENT_COUNT
)

// FlowWays is how many rows a connection may stand in (FLOW_WAYS in connection.h).
const FlowWays = 8

// TickShift is how far the nanoseconds of the monotonic clock are shifted for a tick.
const TickShift = 30

// Hooks, in the order of the counters.
const (
	HookFromPod     = layoutHookHOOK_FROM_POD
	HookToPod       = layoutHookHOOK_TO_POD
	HookFromOverlay = layoutHookHOOK_FROM_OVERLAY
	HookToOverlay   = layoutHookHOOK_TO_OVERLAY
	HookFromUplink  = layoutHookHOOK_FROM_UPLINK
	HookToUplink    = layoutHookHOOK_TO_UPLINK
	HookCount       = layoutHookHOOK_COUNT
)

// Reasons. From ReasonDrop on they tell why a packet was dropped. Each hook has
// ReasonSlots counters.
const (
	ReasonStack     = layoutReasonREASON_STACK
	ReasonLocal     = layoutReasonREASON_LOCAL
	ReasonTunnel    = layoutReasonREASON_TUNNEL
	ReasonViaStack  = layoutReasonREASON_VIA_STACK
	ReasonDelivered = layoutReasonREASON_DELIVERED
	ReasonARPReply  = layoutReasonREASON_ARP_REPLY
	ReasonNDReply   = layoutReasonREASON_ND_REPLY
	ReasonFragment  = layoutReasonREASON_FRAGMENT
	ReasonOther     = layoutReasonREASON_OTHER
	ReasonNative    = layoutReasonREASON_NATIVE
	ReasonTooBig    = layoutReasonREASON_TOO_BIG

	ReasonService         = layoutReasonREASON_SERVICE
	ReasonServiceReply    = layoutReasonREASON_SERVICE_REPLY
	ReasonServiceHandedOn = layoutReasonREASON_SERVICE_HANDED_ON
	ReasonServiceRefused  = layoutReasonREASON_SERVICE_REFUSED
	ReasonServiceTooBig   = layoutReasonREASON_SERVICE_TOO_BIG

	ReasonDrop          = layoutReasonREASON_DROP
	ReasonDropTruncated = layoutReasonREASON_DROP_TRUNCATED
	ReasonDropProtocol  = layoutReasonREASON_DROP_PROTOCOL
	ReasonDropSource    = layoutReasonREASON_DROP_SOURCE
	ReasonDropNeighbour = layoutReasonREASON_DROP_NEIGHBOUR
	ReasonDropMulticast = layoutReasonREASON_DROP_MULTICAST
	ReasonDropNoPeer    = layoutReasonREASON_DROP_NO_PEER
	ReasonDropNotHere   = layoutReasonREASON_DROP_NOT_HERE
	ReasonDropVNI       = layoutReasonREASON_DROP_VNI
	ReasonDropKernel    = layoutReasonREASON_DROP_KERNEL
	ReasonDropStranger  = layoutReasonREASON_DROP_STRANGER

	ReasonDropSourceRange = layoutReasonREASON_DROP_SOURCE_RANGE
	ReasonDropNoPort      = layoutReasonREASON_DROP_NO_PORT
	ReasonDropNoBackend   = layoutReasonREASON_DROP_NO_BACKEND
	ReasonDropChanging    = layoutReasonREASON_DROP_CHANGING
	ReasonDropUnrouted    = layoutReasonREASON_DROP_UNROUTED

	ReasonDropIngress  = layoutReasonREASON_DROP_INGRESS
	ReasonDropEgress   = layoutReasonREASON_DROP_EGRESS
	ReasonDropFragment = layoutReasonREASON_DROP_FRAGMENT

	ReasonSlots = layoutReasonREASON_SLOTS
)

// AddressOf returns the maps' form of an address: that of IPv6, IPv4 mapped.
func AddressOf(a netip.Addr) Address {
	b := a.As16()
	var out Address
	for i := range out.Word {
		out.Word[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return out
}

// Netip returns the address; an IPv4 address in its own form.
func Netip(a Address) netip.Addr {
	var b [16]byte
	for i, w := range a.Word {
		binary.NativeEndian.PutUint32(b[4*i:], w)
	}
	return netip.AddrFrom16(b).Unmap()
}

// Port turns a port from host byte order to the maps', which is the network's, or back.
func Port(p uint16) uint16 { return p<<8 | p>>8 }

// RangeKeyOf returns the key of a prefix in fl_ranges.
func RangeKeyOf(p netip.Prefix) RangeKey {
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	return RangeKey{Prefixlen: uint32(bits), Address: AddressOf(p.Masked().Addr())}
}

// Prefix returns the prefix that a key of fl_ranges stands for.
func Prefix(k RangeKey) netip.Prefix {
	addr, bits := Netip(k.Address), int(k.Prefixlen)
	if addr.Is4() {
		bits -= 96
	}
	return netip.PrefixFrom(addr, bits)
}

// Bits of PortKey.Prefixlen: every protocol without a row, every port of one, one port.
const (
	PortsOfTable    = 64
	PortsOfProtocol = 80
	OnePort         = 96
)

// PortKeyOf returns the key of ports in a table: those that share the first bits bits of port,
// which is in host byte order, with it.
func PortKeyOf(table uint64, protocol uint8, port uint16, bits uint32) PortKey {
	return PortKey{Prefixlen: bits, Ports: [2]uint32{uint32(table), uint32(table >> 32)}, Protocol: protocol, Port: Port(port)}
}

var hookNames = map[Hook]string{
	HookFromPod:     "from_pod",
	HookToPod:       "to_pod",
	HookFromOverlay: "from_overlay",
	HookToOverlay:   "to_overlay",
	HookFromUplink:  "from_uplink",
	HookToUplink:    "to_uplink",
}

// HookName returns the name of a hook, "" for none.
func HookName(h Hook) string { return hookNames[h] }

var reasonNames = map[Reason]string{
	ReasonStack:         "stack",
	ReasonLocal:         "local",
	ReasonTunnel:        "tunnel",
	ReasonViaStack:      "via_stack",
	ReasonDelivered:     "delivered",
	ReasonARPReply:      "arp_reply",
	ReasonNDReply:       "nd_reply",
	ReasonFragment:      "fragment",
	ReasonOther:         "other",
	ReasonNative:        "native",
	ReasonTooBig:        "too_big",
	ReasonDropTruncated: "truncated",
	ReasonDropProtocol:  "unknown_protocol",
	ReasonDropSource:    "spoofed_source",
	ReasonDropNeighbour: "foreign_neighbour",
	ReasonDropMulticast: "multicast",
	ReasonDropNoPeer:    "no_peer",
	ReasonDropNotHere:   "not_here",
	ReasonDropVNI:       "foreign_vni",
	ReasonDropKernel:    "kernel_refused",
	ReasonDropStranger:  "stranger",

	ReasonService:         "service",
	ReasonServiceReply:    "service_reply",
	ReasonServiceHandedOn: "service_handed_on",
	ReasonServiceRefused:  "service_refused",
	ReasonServiceTooBig:   "service_too_big",
	ReasonDropSourceRange: "source_range",
	ReasonDropNoPort:      "no_port_left",
	ReasonDropNoBackend:   "no_backend",
	ReasonDropChanging:    "backends_changing",
	ReasonDropUnrouted:    "unrouted",
	ReasonDropIngress:     "policy_ingress",
	ReasonDropEgress:      "policy_egress",
	ReasonDropFragment:    "policy_fragment",
}

// ReasonName returns the name of a reason, "" for a slot without one.
func ReasonName(r Reason) string { return reasonNames[r] }

var flowEventNames = map[FlowEvent]string{
	FlowCreated:           "created",
	FlowDecidedAnew:       "decided_anew",
	FlowEvictedClosed:     "evicted_closed",
	FlowEvictedUnanswered: "evicted_unanswered",
	FlowTableFull:         "table_full",
	FlowContended:         "contended",
}

// FlowEventName returns the name of an event, "" for none.
func FlowEventName(e FlowEvent) string { return flowEventNames[e] }
