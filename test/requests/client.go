// SPDX-License-Identifier: Apache-2.0

package requests

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Config is what a client does.
type Config struct {
	// Server is HOST:PORT.
	Server string `json:"server"`
	// Rate is in requests a second.
	Rate int `json:"rate"`
	// Fresh makes a connection for each request; else some are kept.
	Fresh bool `json:"fresh"`
	// Clients is how many requests may wait for an answer at once; 0 means 50.
	Clients int `json:"clients,omitempty"`
}

// Result is what came of a client's requests.
type Result struct {
	Sent   int `json:"sent"`
	Failed int `json:"failed"`
	// Late are requests that found all clients busy for longer than a second.
	Late int `json:"late"`
	// Errors counts failures by their words, at most 20 of them.
	Errors map[string]int `json:"errors,omitempty"`
	// Servers counts answers by the server's name.
	Servers map[string]int `json:"servers"`
	// Connections is how many were made.
	Connections int `json:"connections"`
	// Slowest is the longest time that a request took.
	Slowest time.Duration `json:"slowest"`
}

// timeout is for one request, its connection included: a refused or lost one fails before.
const timeout = 5 * time.Second

// client is one run.
type client struct {
	cfg  Config
	http *http.Client
	mu   sync.Mutex
	res  Result
}

// Run sends requests until ctx ends, waits for the last answers, and returns what came
// of them all.
func Run(ctx context.Context, cfg Config) (Result, error) {
	if cfg.Rate <= 0 || cfg.Server == "" {
		return Result{}, fmt.Errorf("requests to %q at rate %d: want HOST:PORT and a positive rate", cfg.Server, cfg.Rate)
	}
	if cfg.Clients == 0 {
		cfg.Clients = 50
	}
	c := &client{cfg: cfg, res: Result{Errors: map[string]int{}, Servers: map[string]int{}}}
	c.http = &http.Client{Timeout: timeout, Transport: &http.Transport{
		DisableKeepAlives:   cfg.Fresh,
		MaxIdleConnsPerHost: cfg.Clients,
		DialContext:         c.dial,
	}}
	defer c.http.CloseIdleConnections()
	due := make(chan time.Time, cfg.Rate)
	var group sync.WaitGroup
	for range cfg.Clients {
		group.Go(func() {
			for at := range due {
				c.request(at)
			}
		})
	}
	c.pace(ctx, due)
	close(due)
	group.Wait()
	return c.res, nil
}

func (c *client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c.mu.Lock()
	c.res.Connections++
	c.mu.Unlock()
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// pace makes requests due at the rate, whatever became of those before.
func (c *client) pace(ctx context.Context, due chan<- time.Time) {
	began, sent := time.Now(), 0
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for ; sent < int(now.Sub(began).Seconds()*float64(c.cfg.Rate)); sent++ {
				select {
				case due <- now:
				case <-ctx.Done():
					return
				}
			}
		}
	}
}

func (c *client) request(due time.Time) {
	late := time.Since(due) > time.Second
	began := time.Now()
	name, err := c.get()
	took := time.Since(began)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.res.Sent++
	c.res.Slowest = max(c.res.Slowest, took)
	if late {
		c.res.Late++
	}
	if err == nil {
		c.res.Servers[name]++
		return
	}
	c.res.Failed++
	if words := err.Error(); c.res.Errors[words] > 0 || len(c.res.Errors) < 20 {
		c.res.Errors[words]++
	}
}

func (c *client) get() (string, error) {
	// The library does not send a POST again by itself when a kept connection
	// breaks: it counts.
	resp, err := c.http.Post("http://"+c.cfg.Server+"/", "text/plain", nil)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 256))
	err = errors.Join(err, resp.Body.Close())
	if resp.StatusCode != http.StatusOK {
		err = errors.Join(err, fmt.Errorf("status %s", resp.Status))
	}
	return string(body), err
}
