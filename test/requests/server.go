// SPDX-License-Identifier: Apache-2.0

package requests

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Serve answers every request with the name until ctx ends. It then goes on for a while,
// the lame duck's time, answering with the wish to close each connection, since others
// have to learn of its end first.
func Serve(ctx context.Context, address, name string, lameDuck time.Duration) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if ctx.Err() != nil {
			// Not SetKeepAlivesEnabled: that closes idle connections at once, and who is
			// about to use one fails.
			w.Header().Set("Connection", "close")
		}
		fmt.Fprint(w, name) //nolint:errcheck // the client left
	})}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	time.Sleep(lameDuck)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	err = server.Shutdown(last)
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
