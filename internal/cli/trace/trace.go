// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/fairlead-io/fairlead/internal/agent/policy/view"
	"github.com/fairlead-io/fairlead/internal/cli/agents"
)

// Connection is what is asked about.
type Connection struct {
	From     End    `json:"from"`
	To       End    `json:"to"`
	Protocol uint8  `json:"protocol"`
	Port     uint16 `json:"port,omitempty"`
}

var protocols = map[string]uint8{"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132}

// ParseProtocol reads a protocol's name or number.
func ParseProtocol(text string) (uint8, error) {
	if n, ok := protocols[strings.ToLower(text)]; ok {
		return n, nil
	}
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("--protocol is %q, want tcp, udp, sctp, icmp, icmpv6 or a number from 1 to 255", text)
	}
	return uint8(n), nil
}

// hasPorts says whether a protocol has ports that policies can name.
func hasPorts(protocol uint8) bool { return protocol == 6 || protocol == 17 || protocol == 132 }

// Check says what a question lacks.
func (c Connection) Check() error {
	if hasPorts(c.Protocol) && c.Port == 0 {
		return errors.New("the destination has no port: name it as POD:PORT or ADDRESS:PORT, or ask about another --protocol")
	}
	if !c.From.policed() && !c.To.policed() {
		return errors.New("neither end is a pod on the pod network: no policy of this cluster is asked")
	}
	_, _, err := c.addresses()
	return err
}

// addresses are those of one family, IPv4 before IPv6.
func (c Connection) addresses() (from, to netip.Addr, err error) {
	for _, is4 := range []bool{true, false} {
		f, t := ofFamily(c.From.Addresses, is4), ofFamily(c.To.Addresses, is4)
		if f.IsValid() && t.IsValid() {
			return f, t, nil
		}
	}
	return from, to, fmt.Errorf("%s and %s have no addresses of one family", c.From, c.To)
}

func ofFamily(list []netip.Addr, is4 bool) netip.Addr {
	for _, a := range list {
		if a.Is4() == is4 {
			return a
		}
	}
	return netip.Addr{}
}

// Question is what to ask a node's agent.
type Question struct {
	Node, Path string
}

// Questions are what to ask of the two ends; nil: there is nobody to ask. Check has found no
// fault.
func (c Connection) Questions() (egress, ingress *Question) {
	from, to, _ := c.addresses()
	if c.From.policed() {
		egress = &Question{c.From.Node, c.path(c.From.Pod, to, "egress")}
	}
	if c.To.policed() {
		ingress = &Question{c.To.Node, c.path(c.To.Pod, from, "ingress")}
	}
	return egress, ingress
}

func (c Connection) path(pod string, peer netip.Addr, direction string) string {
	v := url.Values{"pod": {pod}, "peer": {peer.String()}, "direction": {direction}, "protocol": {strconv.Itoa(int(c.Protocol))}}
	if c.Port != 0 {
		v.Set("port", strconv.Itoa(int(c.Port)))
	}
	return "/trace?" + v.Encode()
}

// Side is what a node says of its end.
type Side struct {
	// Trace is missing where nobody was asked, or Error says why there is no answer.
	Trace *view.Trace `json:"trace,omitempty"`
	Error string      `json:"error,omitempty"`
}

// SideOf reads an agent's answer.
func SideOf(answers []agents.Answer, err error) Side {
	if err == nil && len(answers) != 1 {
		err = fmt.Errorf("%d agents answered, want one", len(answers))
	}
	if err == nil {
		err = answers[0].Err
	}
	if errors.Is(err, agents.ErrNotFound) {
		err = errors.New("its agent does not know the pod: is it on the pod network, and does the agent enforce policies?")
	}
	var t view.Trace
	if err == nil {
		err = json.Unmarshal(answers[0].Body, &t)
	}
	if err != nil {
		return Side{Error: err.Error()}
	}
	return Side{Trace: &t}
}

// Result is what becomes of a connection.
type Result struct {
	Connection
	// Allow: both ends allow it. Unknown: one of them has not answered.
	Allow   bool `json:"allow"`
	Unknown bool `json:"unknown,omitempty"`
	// Differs: the kernel's rows say something else than the policies somewhere.
	Differs bool  `json:"differs,omitempty"`
	Egress  *Side `json:"egress,omitempty"`
	Ingress *Side `json:"ingress,omitempty"`
}

// Of puts the two ends' answers together. The verdict is the kernel's: it is what a packet gets.
func Of(c Connection, egress, ingress *Side) Result {
	r := Result{Connection: c, Allow: true, Egress: egress, Ingress: ingress}
	for _, s := range []*Side{egress, ingress} {
		switch {
		case s == nil:
		case s.Trace == nil:
			r.Unknown = true
		default:
			r.Allow = r.Allow && allows(s.Trace)
			r.Differs = r.Differs || s.Trace.Differs
		}
	}
	return r
}

func allows(t *view.Trace) bool {
	if t.Always != "" {
		return true
	}
	if t.Kernel != nil {
		return t.Kernel.Allow
	}
	return t.Allow
}

// Print writes a result for people.
func Print(w io.Writer, r Result) error {
	p := &printer{w: w}
	p.line("%s from %s to %s", protocolText(r.Protocol, r.Port), r.From, r.To)
	p.side("egress of "+r.From.String(), r.Egress, r.From)
	p.side("ingress of "+r.To.String(), r.Ingress, r.To)
	switch {
	case r.Unknown:
		p.line("\nVerdict: unknown, as not everybody has answered")
	case r.Allow:
		p.line("\nVerdict: ALLOWED")
	default:
		p.line("\nVerdict: DENIED")
	}
	if r.Differs {
		p.line("WARNING: the kernel's rows and the policies differ; ask again, as a change may have been on its way. If it stays so, it is a fault of Fairlead's: please report it.")
	}
	return p.err
}

func protocolText(protocol uint8, port uint16) string {
	text := fmt.Sprintf("protocol %d", protocol)
	for name, n := range protocols {
		if n == protocol {
			text = strings.ToUpper(name)
		}
	}
	if port != 0 {
		text += fmt.Sprintf(" port %d", port)
	}
	return text
}

// printer writes lines until one fails.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

func (p *printer) side(title string, s *Side, e End) {
	p.line("\n%s", strings.ToUpper(title[:1])+title[1:])
	switch {
	case s == nil && e.HostNetwork:
		p.line("  policies do not apply to pods on the host's network")
	case s == nil:
		p.line("  it is no pod of this cluster: nobody is asked")
	case s.Trace == nil:
		p.line("  no answer: %s", s.Error)
	default:
		p.trace(s.Trace)
	}
}

func (p *printer) trace(t *view.Trace) {
	for _, one := range t.Policies {
		name := one.Name
		if one.Namespace != "" {
			name = one.Namespace + "/" + name
		}
		tier := one.Tier + " tier"
		if one.Tier != "namespace" {
			tier += fmt.Sprintf(", priority %d", one.Priority)
		}
		p.line("  %s %s (%s)", one.Kind, name, tier)
		if one.Skipped != "" {
			p.line("    not asked: %s", one.Skipped)
		}
		for _, r := range one.Rules {
			p.rule(r)
		}
	}
	verdict := "allowed"
	if !allows(t) {
		verdict = "denied"
	}
	switch {
	case t.Always != "":
		p.line("  allowed, whatever policies say: %s", t.Always)
	case !t.Policed:
		p.line("  %s: no policy says anything of it", verdict)
	case t.Why == "":
		p.line("  %s: no rule says anything of it, and no NetworkPolicy isolates the pod", verdict)
	default:
		p.line("  %s by %s", verdict, t.Why)
	}
	if t.Differs && t.Kernel != nil {
		p.line("  DIFFERS: the policies say allowed: %t (%s), the kernel's rows allowed: %t (%s)", t.Allow, t.Why, t.Kernel.Allow, t.Kernel.Why)
	}
}

func (p *printer) rule(r view.Rule) {
	name := ""
	if r.Name != "" {
		name = fmt.Sprintf(" %q", r.Name)
	}
	mark := "no"
	if r.Decides {
		mark = "YES"
	}
	var why []string
	for _, one := range []struct {
		is   bool
		text string
	}{{r.Peer, r.PeerWhy}, {r.Port, r.PortWhy}} {
		if one.is == r.Decides { // what made it match, or what kept it from that
			why = append(why, one.text)
		}
	}
	p.line("    rule %d%s, %s: %s: %s", r.Place, name, r.Action, mark, strings.Join(why, "; "))
}
