// SPDX-License-Identifier: Apache-2.0

package run

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// docker answers what the dev provider asks Docker for machines in memory too: how large this
// machine is. Without an answer each of its templates is tried for ever.
type docker struct {
	listener net.Listener
	server   *http.Server
	ended    chan error
}

func startDocker() (*docker, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &docker{listener: l, server: &http.Server{Handler: http.HandlerFunc(answerDocker), ReadHeaderTimeout: time.Minute}, ended: make(chan error, 1)}
	go func() { d.ended <- d.server.Serve(l) }()
	return d, nil
}

func answerDocker(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Api-Version", "1.47")
	w.Header().Set("Content-Type", "application/json")
	answer := ""
	switch {
	case strings.HasSuffix(r.URL.Path, "/_ping"):
		answer = "OK"
	case strings.HasSuffix(r.URL.Path, "/version"):
		answer = `{"ApiVersion":"1.47","Version":"27.0.0","Os":"linux","Arch":"amd64"}`
	case strings.HasSuffix(r.URL.Path, "/info"):
		answer = `{"NCPU":2,"MemTotal":8589934592,"OSType":"linux","Architecture":"x86_64"}`
	default:
		http.Error(w, `{"message":"this Docker has no containers"}`, http.StatusNotFound)
		return
	}
	_, _ = io.WriteString(w, answer) // who asked may have gone
}

// env has a program ask this Docker.
func (d *docker) env() string { return "DOCKER_HOST=tcp://" + d.listener.Addr().String() }

func (d *docker) stop() error {
	err := d.server.Close()
	if ended := <-d.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}
