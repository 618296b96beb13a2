// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
)

// complete checks the options and fills in defaults.
func (o *Options) complete() error {
	u, err := url.Parse(o.Sink)
	switch {
	case err != nil:
		return errors.New("--cloudevents-sink is no URL: set it to one such as https://events.example.com/fairlead")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return errors.New("--cloudevents-sink must begin with https:// or http:// and name a host: correct it")
	case u.User != nil:
		return errors.New("--cloudevents-sink holds credentials, which would be seen in the list of processes: put a token into a file (--cloudevents-bearer-file)")
	case o.BearerFile != "" && u.Scheme == "http" && !isLoopback(u.Hostname()):
		return errors.New("--cloudevents-bearer-file would be sent in the clear: make --cloudevents-sink an https:// URL")
	}
	if o.BearerFile != "" {
		if _, err := readToken(o.BearerFile); err != nil {
			return err
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Transport == nil {
		o.Transport = http.DefaultTransport
	}
	o.Source = cmp.Or(o.Source, "/fairlead")
	o.Queue = cmp.Or(o.Queue, defaultQueue)
	o.Patience = cmp.Or(o.Patience, defaultPatience)
	o.pause = cmp.Or(o.pause, firstPause)
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// bearer puts the token into each request.
type bearer struct {
	file string
	next http.RoundTripper
}

func (b *bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.file == "" {
		return b.next.RoundTrip(r)
	}
	token, err := readToken(b.file)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	return b.next.RoundTrip(r)
}

// readToken reads a token; its errors never hold it.
func readToken(file string) (string, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("--cloudevents-bearer-file: %w", err)
	}
	token := string(bytes.TrimSpace(raw))
	if token == "" || bytes.ContainsAny([]byte(token), "\r\n") {
		return "", fmt.Errorf("--cloudevents-bearer-file %s does not hold one line with a token: write it there", file)
	}
	return token, nil
}

// withoutURL is an error without the address that the HTTP client puts into it.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
