// SPDX-License-Identifier: Apache-2.0

package shared

import (
	"bufio"
	"bytes"
	"io"
)

// unmarked takes a mark out of lines: an answer is one, and so is every event of a watch,
// which is passed on when it is whole.
type unmarked struct {
	from *bufio.Reader
	body io.Closer
	mark []byte
	rest []byte
	err  error
}

func unmark(body io.ReadCloser, mark string) io.ReadCloser {
	return &unmarked{from: bufio.NewReader(body), body: body, mark: []byte(mark)}
}

func (u *unmarked) Read(p []byte) (int, error) {
	for len(u.rest) == 0 {
		if u.err != nil {
			return 0, u.err
		}
		var line []byte
		line, u.err = u.from.ReadBytes('\n')
		u.rest = bytes.ReplaceAll(line, u.mark, nil)
	}
	n := copy(p, u.rest)
	u.rest = u.rest[n:]
	return n, nil
}

func (u *unmarked) Close() error { return u.body.Close() }
