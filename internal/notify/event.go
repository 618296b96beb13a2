// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
)

// typePrefix begins every event's type.
const typePrefix = "io.fairlead."

// Event is something that happened to a rollout.
type Event struct {
	// Type without its prefix, such as "rollout.wave.passed".
	Type string `json:"-"`
	// Namespace and Stack name the NetworkStack.
	Namespace string `json:"namespace"`
	Stack     string `json:"stack"`
	// Wave and Cluster that it is about, if it is about one.
	Wave    string `json:"wave,omitempty"`
	Cluster string `json:"cluster,omitempty"`
	// Revision and Attempt of the rollout.
	Revision string `json:"revision,omitempty"`
	Attempt  int32  `json:"attempt,omitempty"`
	// Reason is a word for programs, Message a sentence for people.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Time at which it happened.
	Time time.Time `json:"-"`
	// Occurrence tells apart what may happen more than once in an attempt, such as a pause:
	// a time or a generation out of an object's status, so that it is the same when the
	// event is sent again by another operator.
	Occurrence string `json:"-"`
}

// ID is the same for the same event, whoever sends it: a receiver drops what it has seen.
// What a person reads, and the time, do not count.
func (e Event) ID() string {
	key, err := json.Marshal([]any{e.Type, e.Namespace, e.Stack, e.Wave, e.Cluster, e.Revision, e.Attempt, e.Reason, e.Occurrence})
	if err != nil {
		panic(fmt.Sprintf("strings that JSON cannot carry: %v", err))
	}
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:16])
}

// cloudEvent is the event as the sink gets it.
func (e Event) cloudEvent(source string) (cloudevents.Event, error) {
	out := cloudevents.NewEvent()
	out.SetID(e.ID())
	out.SetType(typePrefix + e.Type)
	out.SetSource(fmt.Sprintf("%s/namespaces/%s/networkstacks/%s", source, e.Namespace, e.Stack))
	out.SetTime(e.Time)
	switch {
	case e.Cluster != "":
		out.SetSubject("clusters/" + e.Cluster)
	case e.Wave != "":
		out.SetSubject("waves/" + e.Wave)
	}
	if err := out.SetData(cloudevents.ApplicationJSON, e); err != nil {
		return out, err
	}
	return out, out.Validate()
}
