// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"

	"github.com/fairlead-io/fairlead/internal/agent/policy/view"
	"github.com/fairlead-io/fairlead/internal/datapath"
)

// serveTrace answers /trace?pod=NAMESPACE/NAME&peer=ADDRESS&direction=ingress|egress&protocol=6&port=80:
// what becomes of a connection of a pod of this node, as its policies and as the kernel's rows
// say.
func (h *healthServer) serveTrace(w http.ResponseWriter, r *http.Request) {
	pod, q, err := parseTrace(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	own, ok := h.node.Pod(pod)
	if !ok {
		http.Error(w, "this node has no such pod on the pod network", http.StatusNotFound)
		return
	}
	for _, a := range own.Addresses {
		if a.Is4() == q.Peer.Is4() {
			q.Pod = a
		}
	}
	if !q.Pod.IsValid() {
		http.Error(w, fmt.Sprintf("pod %s has no address of the family of %s", pod, q.Peer), http.StatusBadRequest)
		return
	}
	v, err := h.trace(r.Context(), q)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	writeJSON(w, v)
}

func (h *healthServer) trace(ctx context.Context, q datapath.PolicyQuery) (view.Trace, error) {
	v, err := h.node.TracePolicies(ctx, q)
	v.Node = h.name
	return v, err
}

// parseTrace reads a question; its Pod is left out.
func parseTrace(v url.Values) (pod string, q datapath.PolicyQuery, err error) {
	if pod = v.Get("pod"); pod == "" {
		return pod, q, fmt.Errorf("pod is missing, want NAMESPACE/NAME")
	}
	if q.Peer, err = netip.ParseAddr(v.Get("peer")); err != nil {
		return pod, q, fmt.Errorf("peer is %q, want an address", v.Get("peer"))
	}
	q.Peer = q.Peer.Unmap()
	switch v.Get("direction") {
	case "ingress":
		q.Direction = datapath.Ingress
	case "egress":
		q.Direction = datapath.Egress
	default:
		return pod, q, fmt.Errorf("direction is %q, want ingress or egress", v.Get("direction"))
	}
	protocol, err := strconv.ParseUint(v.Get("protocol"), 10, 8)
	if err != nil {
		return pod, q, fmt.Errorf("protocol is %q, want an IANA number", v.Get("protocol"))
	}
	port, err := strconv.ParseUint(v.Get("port"), 10, 16)
	if err != nil && v.Get("port") != "" {
		return pod, q, fmt.Errorf("port is %q, want a number up to 65535", v.Get("port"))
	}
	q.Protocol, q.Port = uint8(protocol), uint16(port)
	return pod, q, nil
}
