// SPDX-License-Identifier: Apache-2.0

// Package cniapi is the conversation between the CNI plugin and the agent on
// the same node: one request and one response over a unix socket, each a 4-byte
// big-endian length followed by JSON. It owns the message types and their
// framing, and must stay on the standard library, because the plugin is executed
// for every pod and links nothing else.
package cniapi

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
)

const (
	// Version is the version of this protocol. An agent answers a request of
	// another version with ErrVersion's code, so that a plugin and an agent of
	// different releases fail with a sentence and not with a guess.
	Version = 1

	// DefaultSocket is where the agent listens.
	DefaultSocket = "/run/fairlead/cni.sock"

	// MaxMessage bounds a message, in bytes. A GC request of a node with 1,000
	// attachments is about 120 KiB.
	MaxMessage = 1 << 20
)

// InForce is the file, beside an agent's socket, that says that the node's network is in
// force, with or without an agent: pods that are connected stay so. It is made when the
// agent is in sync for the first time after the machine has started, and is gone with the
// machine's next start, as the network is. While it is there, STATUS is a success even if
// no agent answers, because the runtime would otherwise call the whole node not ready, and
// Kubernetes would evict its pods. An ADD is told to try again then.
func InForce(socket string) string { return filepath.Join(filepath.Dir(socket), "in-force") }

// Commands of the CNI specification 1.1, section 3.
const (
	CommandAdd    = "ADD"
	CommandDel    = "DEL"
	CommandCheck  = "CHECK"
	CommandGC     = "GC"
	CommandStatus = "STATUS"
)

// Error codes. Below 100 they are those of the CNI specification 1.1, section 5;
// from 100 they are Fairlead's own.
const (
	CodeInvalidEnvironment = 4
	CodeIO                 = 5
	CodeDecode             = 6
	CodeInvalidConfig      = 7
	CodeTryAgainLater      = 11
	CodeNotAvailable       = 50

	CodeInternal        = 100
	CodeExhausted       = 101
	CodeAlreadyAttached = 102
	CodeCheckFailed     = 103
	CodeVersion         = 104
)

// Request is one execution of the plugin.
type Request struct {
	Version int    `json:"version"`
	Command string `json:"command"`

	// The parameters of the CNI specification, section 2; empty where a command has none.
	ContainerID string `json:"containerID,omitempty"`
	Netns       string `json:"netns,omitempty"`
	IfName      string `json:"ifName,omitempty"`
	Args        string `json:"args,omitempty"`

	// Config is the network configuration as the runtime passed it on stdin.
	Config json.RawMessage `json:"config,omitempty"`
}

// Response answers a Request: Error is nil on success, and Result is set for a
// successful ADD only.
type Response struct {
	Result *Result `json:"result,omitempty"`
	Error  *Error  `json:"error,omitempty"`
}

// Result is what an ADD made. Interface 0 is the pod's.
type Result struct {
	Interfaces []Interface    `json:"interfaces"`
	Addresses  []Address      `json:"addresses"`
	Routes     []netip.Prefix `json:"routes"`
}

// Interface is one end of the pod's link. Netns is empty for the host's end.
type Interface struct {
	Name  string `json:"name"`
	MAC   string `json:"mac"`
	MTU   int    `json:"mtu"`
	Netns string `json:"netns,omitempty"`
}

// Address is an address of the pod's interface with the gateway of its family.
type Address struct {
	Prefix  netip.Prefix `json:"prefix"`
	Gateway netip.Addr   `json:"gateway"`
}

// Error is a failure in the words of the CNI specification, section 5.
type Error struct {
	Code    uint   `json:"code"`
	Msg     string `json:"msg"`
	Details string `json:"details,omitempty"`
}

// Error returns the message and, where there are any, the details.
func (e *Error) Error() string {
	if e.Details == "" {
		return e.Msg
	}
	return e.Msg + ": " + e.Details
}

// Errorf returns an Error with the code.
func Errorf(code uint, format string, args ...any) *Error {
	return &Error{Code: code, Msg: fmt.Sprintf(format, args...)}
}

// AsError returns err as an Error; one that is not an Error already gets CodeInternal.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: CodeInternal, Msg: err.Error()}
}

// Write sends one message: a *Request or a *Response.
func Write(w io.Writer, msg any) error {
	body, err := json.Marshal(msg)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	if len(body) > MaxMessage {
		return fmt.Errorf("message of %d bytes is longer than %d", len(body), MaxMessage)
	}
	frame := make([]byte, 4, 4+len(body))
	binary.BigEndian.PutUint32(frame, uint32(len(body)))
	_, err = w.Write(append(frame, body...))
	return err
}

// Read receives one message into msg: a *Request or a *Response. It reads no
// byte beyond the message and allocates no more than the sender sends.
func Read(r io.Reader, msg any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > MaxMessage {
		return fmt.Errorf("message of %d bytes is longer than %d", size, MaxMessage)
	}
	body, err := io.ReadAll(io.LimitReader(r, int64(size)))
	if err != nil {
		return err
	}
	if len(body) < int(size) {
		return io.ErrUnexpectedEOF
	}
	if err := json.Unmarshal(body, msg); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	return nil
}
