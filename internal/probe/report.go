// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode"
	"unicode/utf8"
)

// formatVersion is that of a report's line. A reader passes over those of others.
const formatVersion = 1

// Limits of what is believed of a line. A report of ours stays far below each.
const (
	maxLine    = 64 << 10
	maxSamples = 64
	maxName    = 63
	maxPeer    = 320
	maxSent    = 1 << 30
	maxPeriod  = time.Hour
)

// Report is what the probes of one node measured in one period.
type Report struct {
	// Format is the version of the line; Encode sets it.
	Format int `json:"probeReport"`
	// Node on which the probes run.
	Node string `json:"node"`
	// From and To bound the period, by the node's clock.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Samples of each probe and peer of which something became known in the period.
	Samples []Sample `json:"samples"`
}

// Sample is what became known of one probe's attempts at one peer. An attempt is counted
// when its fate is known, not when it began.
type Sample struct {
	// Probe by name.
	Probe string `json:"probe"`
	// Peer says in words to whom the attempts went.
	Peer string `json:"peer"`
	// Sent is the number of attempts, Lost how many of them failed.
	Sent int64 `json:"sent"`
	Lost int64 `json:"lost"`
	// Times that the others took.
	Times Times `json:"times,omitempty"`
}

// Encode returns the report's line, with its end.
func (r Report) Encode() ([]byte, error) {
	r.Format = formatVersion
	if r.Samples == nil {
		r.Samples = []Sample{}
	}
	line, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("report of node %s: %w", r.Node, err)
	}
	return append(line, '\n'), nil
}

// Decode returns the reports of a log. Lines that are no report, of another version, or cut
// off are passed over: a pod's log has its standard error too. The error is the reader's;
// what was read before it is returned.
func Decode(log io.Reader) ([]Report, error) {
	var out []Report
	lines := bufio.NewReaderSize(log, maxLine)
	for {
		line, err := lines.ReadSlice('\n')
		tooLong := errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = lines.ReadSlice('\n')
		}
		if errors.Is(err, io.EOF) {
			return out, nil // whatever came last has no end
		}
		if err != nil {
			return out, err
		}
		if r, ok := decodeLine(line); ok && !tooLong {
			out = append(out, r)
		}
	}
}

func decodeLine(line []byte) (r Report, ok bool) {
	if !bytes.HasPrefix(line, []byte("{")) || json.Unmarshal(line, &r) != nil {
		return Report{}, false
	}
	if r.Format != formatVersion || !isText(r.Node, maxPeer) || len(r.Samples) > maxSamples ||
		!r.From.Before(r.To) || r.To.Sub(r.From) > maxPeriod {
		return Report{}, false
	}
	for _, s := range r.Samples {
		if !s.isPlausible() {
			return Report{}, false
		}
	}
	return r, true
}

func (s Sample) isPlausible() bool {
	if !isText(s.Probe, maxName) || !isText(s.Peer, maxPeer) || s.Lost < 0 || s.Lost > s.Sent || s.Sent > maxSent {
		return false
	}
	var answered int64
	for bucket, n := range s.Times {
		if bucket < 0 || bucket >= Buckets || n < 1 || n > s.Sent {
			return false
		}
		answered += n
	}
	return answered <= s.Sent-s.Lost
}

// isText says whether a name can be shown to a person as it is.
func isText(s string, limit int) bool {
	if s == "" || len(s) > limit || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
