// SPDX-License-Identifier: Apache-2.0

package enroll

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/fairlead-io/fairlead/internal/trust/revocation"
)

// lookEvery is how often Watch looks whether somebody was revoked.
const lookEvery = time.Second

// TLS is the configuration of the xDS server: TLS 1.3, a client certificate is
// verified if one is given (only enrollment goes without), with the serving
// certificate and the roots of the moment.
func (a *Authority) TLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			a.mu.Lock()
			defer a.mu.Unlock()
			c := a.current()
			cert, err := a.servingCertificate(c)
			if err != nil {
				a.log.Error("no serving certificate can be issued", "error", err)
				return nil, errors.New("no serving certificate")
			}
			return &tls.Config{
				MinVersion:             tls.VersionTLS13,
				NextProtos:             []string{"h2"},
				Certificates:           []tls.Certificate{*cert},
				ClientAuth:             tls.VerifyClientCertIfGiven,
				ClientCAs:              c.roots,
				SessionTicketsDisabled: true, // a resumed session would outlive a certificate
				VerifyConnection: func(cs tls.ConnectionState) error {
					return a.check(revocation.OfChains(cs.VerifiedChains))
				},
			}, nil
		},
	}
}

// check returns an error when one of some signers was revoked.
func (a *Authority) check(signers []revocation.Fingerprint) error {
	list, err := a.revoked.List()
	if err != nil {
		return err
	}
	return list.Check(signers...)
}

// Credentials are TLS for a server whose connections end, within a second or two, when
// their peer's CA is revoked, or the cluster's own. Watch must run for that.
func (a *Authority) Credentials() credentials.TransportCredentials {
	return &guard{credentials.NewTLS(a.TLS()), a}
}

// guard has every connection of a server known to its authority.
type guard struct {
	credentials.TransportCredentials
	authority *Authority
}

// Clone implements credentials.TransportCredentials.
func (g *guard) Clone() credentials.TransportCredentials {
	return &guard{g.TransportCredentials.Clone(), g.authority}
}

// ServerHandshake implements credentials.TransportCredentials.
func (g *guard) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := g.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	c := &guarded{Conn: conn, raw: raw, authority: g.authority}
	if t, ok := info.(credentials.TLSInfo); ok {
		c.signers = revocation.OfChains(t.State.VerifiedChains)
	}
	if err := g.authority.admit(c); err != nil {
		return nil, nil, errors.Join(err, raw.Close())
	}
	return c, info, nil
}

// guarded is a connection that is open.
type guarded struct {
	net.Conn
	raw       net.Conn // closed without a word to the peer, which might not listen
	authority *Authority
	signers   []revocation.Fingerprint
}

// Close implements net.Conn.
func (c *guarded) Close() error {
	c.authority.mu.Lock()
	delete(c.authority.open, c)
	c.authority.mu.Unlock()
	return c.Conn.Close()
}

// admit makes a connection known. The list may have changed since its handshake.
func (a *Authority) admit(c *guarded) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.check(c.signers); err != nil {
		return err
	}
	a.open[c] = struct{}{}
	return nil
}

// Watch closes open connections whose peer's CA was revoked, and all of them when the
// cluster's own was, until ctx ends.
func (a *Authority) Watch(ctx context.Context) {
	t := time.NewTicker(a.look)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			a.cut()
		}
	}
}

func (a *Authority) cut() {
	a.mu.Lock()
	defer a.mu.Unlock()
	list, err := a.revoked.List()
	if err != nil || list.Len() == 0 {
		return
	}
	own := list.Check(a.current().signers...)
	for c := range a.open {
		why := own
		if why == nil {
			why = list.Check(c.signers...)
		}
		if why == nil {
			continue
		}
		a.log.Warn("closing a connection", "peer", c.RemoteAddr().String(), "error", why)
		delete(a.open, c)
		_ = c.raw.Close() // whoever reads or writes it finds out
	}
}
