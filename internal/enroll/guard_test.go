// SPDX-License-Identifier: Apache-2.0

package enroll_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/fairlead-io/fairlead/internal/enroll"
	"github.com/fairlead-io/fairlead/internal/enroll/enrolltest"
	"github.com/fairlead-io/fairlead/internal/trust/revocation"
)

const patience = 10 * time.Second

// server answers every connection that its credentials accept with what comes in.
type server struct {
	t         *testing.T
	root      *enrolltest.Root
	dir       string
	authority *enroll.Authority
	address   string
}

func newServer(t *testing.T) *server {
	s := &server{t: t, root: enrolltest.NewRoot(t), dir: t.TempDir()}
	s.root.WriteIntermediate(t, s.dir)
	var err error
	if s.authority, err = enroll.NewAuthority(s.dir, "alpha", slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
	var running sync.WaitGroup
	running.Go(func() { s.authority.Watch(t.Context()) })
	running.Go(func() { s.serve(l, s.authority.Credentials().Clone(), &running) })
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	return s
}

func (s *server) serve(l net.Listener, creds credentials.TransportCredentials, running *sync.WaitGroup) {
	for {
		raw, err := l.Accept()
		if err != nil {
			return
		}
		running.Go(func() {
			conn, _, err := creds.ServerHandshake(raw)
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = io.Copy(conn, conn) // until the client, or the authority, closes it
		})
	}
}

// identity is a client's certificate from the CA of the moment.
func (s *server) identity() *tls.Config {
	s.t.Helper()
	conf := enrolltest.ClientTLS(s.t, s.root, s.authority, "n1")
	conf.NextProtos = []string{"h2"}
	return conf
}

// open connects, and returns an error when the server does not answer.
func (s *server) open(conf *tls.Config) (*tls.Conn, error) {
	s.t.Helper()
	conn, err := tls.Dial("tcp", s.address, conf)
	if err != nil {
		return nil, err
	}
	s.t.Cleanup(func() { conn.Close() })
	return conn, answers(conn)
}

func answers(conn *tls.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("x")); err != nil {
		return err
	}
	_, err := conn.Read(make([]byte, 1))
	return err
}

// revoke lists the CA that a certificate is of.
func (s *server) revoke(conf *tls.Config) {
	s.t.Helper()
	ca, err := x509.ParseCertificate(conf.Certificates[0].Certificate[1])
	if err != nil {
		s.t.Fatal(err)
	}
	list, err := revocation.List{}.With(time.Now(), revocation.Entry{Fingerprint: revocation.Of(ca), NotAfter: ca.NotAfter, Cluster: "fleet/alpha"})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, revocation.Key), list.Encode(), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// TestAStolenCAIsRevoked has one client with a certificate of a CA that the cluster held
// before, and one with a certificate of the present one.
func TestAStolenCAIsRevoked(t *testing.T) {
	s := newServer(t)
	stolen := s.identity()
	s.root.WriteIntermediate(t, s.dir)
	own := s.identity()
	bad, err := s.open(stolen)
	if err != nil {
		t.Fatalf("the former CA is refused before it was revoked: %v", err)
	}
	good, err := s.open(own)
	if err != nil {
		t.Fatal(err)
	}

	s.revoke(stolen)
	began := time.Now()
	if _, err := bad.Read(make([]byte, 1)); err == nil {
		t.Error("the open connection goes on")
	} else if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		t.Error("the open connection was not closed")
	}
	t.Logf("closed after %s", time.Since(began).Round(time.Millisecond))
	if _, err := s.open(stolen); err == nil {
		t.Error("a new connection is accepted")
	}
	if err := answers(good); err != nil {
		t.Errorf("another client was cut off, too: %v", err)
	}
	if _, err := s.open(own); err != nil {
		t.Errorf("another client is refused, too: %v", err)
	}
}

// TestARevokedClusterServesNobody says no to new and to open connections, also of those
// who enroll and have no certificate, and signs nothing.
func TestARevokedClusterServesNobody(t *testing.T) {
	s := newServer(t)
	own := s.identity()
	nobody := enrolltest.ClientTLS(t, s.root, s.authority, "")
	nobody.NextProtos = []string{"h2"}
	conn, err := s.open(nobody)
	if err != nil {
		t.Fatal(err)
	}
	s.revoke(own)
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the open connection goes on")
	} else if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		t.Error("the open connection was not closed")
	}
	for name, conf := range map[string]*tls.Config{"an agent": own, "who enrolls": nobody} {
		if _, err := s.open(conf); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.authority.SignNode("n1", key.Public()); err == nil || !strings.Contains(err.Error(), "CA of cluster fleet/alpha") {
		t.Errorf("got %v", err)
	}

	s.root.WriteIntermediate(t, s.dir)
	if _, err := s.open(s.identity()); err != nil {
		t.Errorf("it is refused with a new CA: %v", err)
	}
}

func TestAListThatCannotBeRead(t *testing.T) {
	root, dir := enrolltest.NewRoot(t), t.TempDir()
	root.WriteIntermediate(t, dir)
	path := filepath.Join(dir, revocation.Key)
	if err := os.WriteFile(path, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := enroll.NewAuthority(dir, "alpha", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a controller starts that knows nothing of who was revoked: %v", err)
	}
}
