// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	stdsync "sync"
	"time"
)

// The log of a book is one header line, which says whose state it is, and then records:
// their length, what they are, the resource's name, version and content, and a checksum
// of all of that. A record replaces earlier ones of its resource. What was cut off at the
// end by a crash is of no use and costs nothing: the versions tell the controllers what
// is missing.
const (
	serviceFile   = "services.log"
	serviceFormat = "fairlead-agent-services v1"
	policyFile    = "policies.log"
	policyFormat  = "fairlead-agent-policies v1"
	maxRecord     = 64 << 20
	// rewriteWaste is how many bytes of replaced contents are worth writing the log anew,
	// if they are also more than what is in force.
	rewriteWaste = 4 << 20
	// rewriteAgain is the pause before another attempt to write a log that could not be.
	rewriteAgain = 5 * time.Second
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// What a record says of its resource, or of its type.
const (
	opSet byte = iota
	opGone
	opComplete
)

type record struct {
	key            resourceKey
	version        string
	body           []byte
	gone, complete bool
}

// bookLog is the file. Its end is where the last good record ends.
type bookLog struct {
	what         string // it is of, for people
	path, header string
	log          *slog.Logger

	mu     stdsync.Mutex // the file is synced by another goroutine
	file   *os.File      // nil: it cannot be written at present
	end    int64
	wasted int64
	tried  time.Time // of the last rewrite that failed
	dirty  chan struct{}
}

func newServiceLog(cfg Config) *bookLog {
	return newBookLog(cfg, "Services", serviceFile, serviceFormat)
}
func newPolicyLog(cfg Config) *bookLog { return newBookLog(cfg, "policies", policyFile, policyFormat) }

func newBookLog(cfg Config, what, file, format string) *bookLog {
	return &bookLog{
		what:   what,
		path:   filepath.Join(cfg.StateDir, file),
		header: fmt.Sprintf("%s cluster=%q node=%q\n", format, cfg.ClusterName, cfg.NodeName),
		log:    cfg.Log,
		dirty:  make(chan struct{}, 1),
	}
}

// appendRecord encodes a record; where says at which place of it the content starts.
func appendRecord(b []byte, r record) (out []byte, where int) {
	op := opSet
	switch {
	case r.gone:
		op = opGone
	case r.complete:
		op = opComplete
	}
	payload := 2 + uvarintLen(len(r.key.name)) + len(r.key.name) + uvarintLen(len(r.version)) + len(r.version) + len(r.body)
	b = binary.AppendUvarint(b, uint64(payload))
	from := len(b)
	b = append(b, op, byte(r.key.kind))
	b = append(binary.AppendUvarint(b, uint64(len(r.key.name))), r.key.name...)
	b = append(binary.AppendUvarint(b, uint64(len(r.version))), r.version...)
	where = len(b)
	b = append(b, r.body...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[from:], castagnoli)), where
}

func uvarintLen(n int) int {
	var b [binary.MaxVarintLen64]byte
	return binary.PutUvarint(b[:], uint64(n))
}

var errRecord = errors.New("a record is damaged")

// decodeRecord reads the payload of a record; body is a part of it.
func decodeRecord(payload []byte) (r record, err error) {
	if len(payload) < 2 || payload[0] > opComplete || payload[1] >= byte(kinds) {
		return r, errRecord
	}
	r.gone, r.complete = payload[0] == opGone, payload[0] == opComplete
	r.key.kind = kind(payload[1])
	rest := payload[2:]
	for _, field := range []*string{&r.key.name, &r.version} {
		n, size := binary.Uvarint(rest)
		if size <= 0 || n > uint64(len(rest)-size) {
			return r, errRecord
		}
		*field, rest = string(rest[size:size+int(n)]), rest[size+int(n):]
	}
	r.body = rest
	return r, nil
}

// scan reads records up to the first one that is damaged or cut off, and returns where
// that one starts. at is the place of a record's content, counted from the reader's start.
func scan(in *bufio.Reader, each func(r record, at int64)) (end int64) {
	var payload []byte
	for {
		n, err := binary.ReadUvarint(in)
		if err != nil || n > maxRecord {
			return end
		}
		if payload, err = readN(in, payload[:0], int(n)+crc32.Size); err != nil {
			return end
		}
		body, sum := payload[:n], binary.BigEndian.Uint32(payload[n:])
		if crc32.Checksum(body, castagnoli) != sum {
			return end
		}
		r, err := decodeRecord(body)
		if err != nil {
			return end
		}
		end += int64(uvarintLen(int(n))) + int64(n) + crc32.Size
		each(r, end-crc32.Size-int64(len(r.body)))
	}
}

// readN reads n bytes into buf, and allocates little more than there are.
func readN(in io.Reader, buf []byte, n int) ([]byte, error) {
	const step = 1 << 20
	for len(buf) < n {
		from := len(buf)
		buf = append(buf, make([]byte, min(step, n-from))...)
		if _, err := io.ReadFull(in, buf[from:]); err != nil {
			return buf, err
		}
	}
	return buf, nil
}

// open reads the log into the book, and opens it for more. A log that cannot be used is
// begun anew; so is one that is mostly waste.
func (b *book) open() error {
	l := b.log
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		b.rewrite()
		return err
	}
	in := bufio.NewReaderSize(f, 1<<20)
	header := make([]byte, len(l.header))
	n, err := io.ReadFull(in, header)
	if n == 0 && errors.Is(err, io.EOF) {
		f.Close()
		b.rewrite()
		return nil
	}
	if err != nil || string(header) != l.header {
		f.Close()
		b.rewrite()
		return fmt.Errorf("%s: %w", l.path, errForeign)
	}
	start := int64(len(header))
	l.end = start + scan(in, func(r record, at int64) { b.replay(r, start+at) })
	l.file = f
	if err := f.Truncate(l.end); err != nil {
		b.rewrite()
		return err
	}
	if l.wantsRewrite(true) {
		b.rewrite()
	}
	return nil
}

func (b *book) replay(r record, at int64) {
	rows := b.rows[r.key.kind]
	if old, ok := rows[r.key.name]; ok && !r.complete {
		b.log.waste(old.size)
	}
	switch {
	case r.complete:
		b.known[r.key.kind] = true
	case r.gone:
		delete(rows, r.key.name)
	default:
		rows[r.key.name] = heldAt{version: r.version, at: at, size: len(r.body)}
	}
}

// append writes records at the end and says at which places their contents are.
func (l *bookLog) append(records []record) (at []int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil, false
	}
	var b []byte
	at = make([]int64, len(records))
	for i, r := range records {
		var where int
		b, where = appendRecord(b, r)
		at[i] = l.end + int64(where)
	}
	if _, err := l.file.WriteAt(b, l.end); err != nil {
		l.fail(err)
		return nil, false
	}
	l.end += int64(len(b))
	select {
	case l.dirty <- struct{}{}:
	default:
	}
	return at, true
}

// fail cuts off what was written of a record. Contents go on being read from what there is.
func (l *bookLog) fail(err error) {
	l.log.Warn(l.what+" cannot be saved; a restart without a controller would start from older ones", "file", l.path, "error", err)
	_ = l.file.Truncate(l.end) // what stays of it is skipped by its checksum
	l.tried = time.Now()
}

func (l *bookLog) read(at int64, size int) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil, errors.New("the log of " + l.what + " is not open")
	}
	body := make([]byte, size)
	_, err := l.file.ReadAt(body, at)
	return body, err
}

// waste notes that a content is in force no more.
func (l *bookLog) waste(size int) { l.wasted += int64(size) }

// wantsRewrite says whether to write the log anew; written: the last append was.
func (l *bookLog) wantsRewrite(written bool) bool {
	if !written {
		return time.Since(l.tried) > rewriteAgain
	}
	return l.wasted > rewriteWaste && l.wasted > l.end/2
}

// rewrite writes the log anew, with what is in force and nothing else.
func (b *book) rewrite() {
	l := b.log
	if err := b.write(l.path + ".new"); err != nil {
		l.tried = time.Now()
		l.log.Warn("the log of "+l.what+" cannot be written; a restart without a controller would start from an older one", "file", l.path, "error", err)
	}
}

// write fills a new file, puts it in the old one's place, and takes it into use.
func (b *book) write(path string) (err error) {
	l := b.log
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(path))
		}
	}()
	moved, end, err := b.copyTo(f)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), os.Rename(path, l.path)); err != nil {
		return err
	}
	for k, at := range moved {
		row := b.rows[k.kind][k.name]
		row.at, row.body = at, nil
		b.rows[k.kind][k.name] = row
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		l.file.Close()
	}
	l.file, l.end, l.wasted, l.tried = f, end, 0, time.Time{}
	return nil
}

// copyTo writes what is in force, and says at which places contents are.
func (b *book) copyTo(f *os.File) (moved map[resourceKey]int64, end int64, err error) {
	out := bufio.NewWriterSize(f, 1<<20)
	n, err := out.WriteString(b.log.header)
	if err != nil {
		return nil, 0, err
	}
	end, moved = int64(n), map[resourceKey]int64{}
	put := func(r record) error {
		encoded, where := appendRecord(nil, r)
		moved[r.key] = end + int64(where)
		end += int64(len(encoded))
		_, err := out.Write(encoded)
		return err
	}
	for _, k := range b.all() {
		row := b.rows[k.kind][k.name]
		body := row.body
		if body == nil {
			if body, err = b.log.read(row.at, row.size); err != nil {
				return nil, 0, err
			}
		}
		if err := put(record{key: k, version: row.version, body: body}); err != nil {
			return nil, 0, err
		}
	}
	for k, known := range b.known {
		if !known {
			continue
		}
		if err := put(record{key: resourceKey{kind: kind(k)}, complete: true}); err != nil {
			return nil, 0, err
		}
		delete(moved, resourceKey{kind: kind(k)})
	}
	return moved, end, out.Flush()
}

// sync brings what was written to the disk, where a power cut leaves it.
func (l *bookLog) sync() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	return l.file.Sync()
}

func (l *bookLog) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}
