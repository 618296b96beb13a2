// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	stdsync "sync"
	"time"

	"github.com/fairlead-io/fairlead/internal/trust/revocation"
)

// check returns an error when one of some signers was revoked.
func (id *identity) check(signers []revocation.Fingerprint) error {
	list, err := id.revoked.List()
	if err != nil {
		return err
	}
	return list.Check(signers...)
}

// signersOf are the keys of a certificate's chain but for its own.
func signersOf(cert *tls.Certificate) []revocation.Fingerprint {
	var out []revocation.Fingerprint
	for _, der := range cert.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			out = append(out, revocation.Of(c))
		}
	}
	return out
}

// link is one connection to a controller: the CAs that it depends on.
type link struct {
	identity *identity
	own      []revocation.Fingerprint // of the agent's certificate

	mu   stdsync.Mutex
	peer []revocation.Fingerprint // of the controller's, once it was met
}

// met remembers the controller's CAs, and refuses them if they were revoked.
func (l *link) met(signers []revocation.Fingerprint) error {
	l.mu.Lock()
	l.peer = signers
	l.mu.Unlock()
	if err := l.identity.check(signers); err != nil {
		return fmt.Errorf("the controller is refused: %w", err)
	}
	return nil
}

// check says whether the connection may go on.
func (l *link) check() error {
	l.mu.Lock()
	peer := l.peer
	l.mu.Unlock()
	if err := l.identity.check(peer); err != nil {
		return fmt.Errorf("the controller is refused: %w", err)
	}
	if err := l.identity.check(l.own); err != nil {
		return fmt.Errorf("the agent's certificate is not to be used any more: %w", err)
	}
	return nil
}

// watch ends a stream by cut, with the reason, when its connection may not go on.
func (l *link) watch(ctx context.Context, every time.Duration, cut context.CancelCauseFunc) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if err := l.check(); err != nil {
				cut(err)
				return
			}
		}
	}
}
