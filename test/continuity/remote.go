// SPDX-License-Identifier: Apache-2.0

package continuity

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"
)

// Orders of a Remote, a line each. Each is answered with an answer.
const (
	orderAwait = "await"
	orderStop  = "stop"
)

// awaitPatience is how long a load may take to go on for another while.
const awaitPatience = time.Minute

// answer is what a load says of itself: that it runs, has gone on, or has come to its end.
type answer struct {
	Result *Result `json:"result,omitempty"`
	Error  string  `json:"error,omitempty"`
}

func answerOf(r *Result, err error) answer {
	a := answer{Result: r}
	if err != nil {
		a.Error = err.Error()
	}
	return a
}

func (a answer) err() error {
	if a.Error == "" {
		return nil
	}
	return errors.New(a.Error)
}

// Obey puts a load on the path to a server, from where it is called, for a Remote at the
// other end of in and out. It returns at the end of the load, which the end of in is too:
// nothing goes on that nobody waits for.
func Obey(in io.Reader, out io.Writer, server netip.AddrPort, cfg Config) error {
	enc := json.NewEncoder(out)
	c, err := Start(server, Here, cfg)
	if err != nil {
		return errors.Join(err, enc.Encode(answerOf(nil, err)))
	}
	err = enc.Encode(answer{})
	for orders := bufio.NewScanner(in); err == nil && orders.Scan(); {
		switch order := orders.Text(); order {
		case orderAwait:
			ctx, cancel := context.WithTimeout(context.Background(), awaitPatience)
			err = enc.Encode(answerOf(nil, c.Await(ctx)))
			cancel()
		case orderStop:
			r, failed := c.Stop()
			return enc.Encode(answerOf(&r, failed))
		default:
			err = fmt.Errorf("continuity: order %q is neither %q nor %q", order, orderAwait, orderStop)
		}
	}
	_, failed := c.Stop()
	return errors.Join(err, failed)
}

// Remote is a load elsewhere, that of an Obey.
type Remote struct {
	orders  io.Writer
	answers *json.Decoder
}

// Command returns the load at the other end of two streams when it runs. The error is
// why it does not, or the streams'.
func Command(orders io.Writer, answers io.Reader) (*Remote, error) {
	r := &Remote{orders: orders, answers: json.NewDecoder(answers)}
	_, err := r.answer()
	return r, err
}

func (r *Remote) answer() (answer, error) {
	var a answer
	if err := r.answers.Decode(&a); err != nil {
		return a, fmt.Errorf("continuity: the load elsewhere is gone: %w", err)
	}
	return a, a.err()
}

func (r *Remote) order(order string) (answer, error) {
	if _, err := io.WriteString(r.orders, order+"\n"); err != nil {
		return answer{}, fmt.Errorf("continuity: the load elsewhere is gone: %w", err)
	}
	return r.answer()
}

// Await is Client.Await with a minute's patience.
func (r *Remote) Await() error {
	_, err := r.order(orderAwait)
	return err
}

// Stop is Client.Stop.
func (r *Remote) Stop() (Result, error) {
	a, err := r.order(orderStop)
	if a.Result == nil {
		return Result{}, errors.Join(err, errors.New("continuity: the load elsewhere has no result"))
	}
	return *a.Result, err
}
