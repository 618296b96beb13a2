// SPDX-License-Identifier: Apache-2.0

package front

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Illness is how an API server that is ill treats a request; well is what it does otherwise.
type Illness func(w http.ResponseWriter, r *http.Request, well http.Handler)

// Failing answers everything with an HTTP status, as an API server does that has lost its
// etcd (500) or is not yet ready (503).
func Failing(code int, reason metav1.StatusReason, message string) Illness {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { Refuse(w, code, reason, message) }
}

// Overloaded answers everything with 429, and when to come back.
func Overloaded(retryAfter time.Duration) Illness {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter.Seconds())))
		Refuse(w, http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, "Too many requests, please try again later.")
	}
}

// Slow does everything late.
func Slow(late time.Duration) Illness {
	return func(w http.ResponseWriter, r *http.Request, well http.Handler) {
		t := time.NewTimer(late)
		defer t.Stop()
		select {
		case <-t.C:
			well.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}
}

// Upon is well until the first request of which when says so, and ill from that one on;
// begin is called before it is answered.
func Upon(when func(*http.Request) bool, begin func(), ill Illness) Illness {
	begun := make(chan struct{}, 1)
	begun <- struct{}{}
	return func(w http.ResponseWriter, r *http.Request, well http.Handler) {
		if !when(r) {
			well.ServeHTTP(w, r)
			return
		}
		select {
		case <-begun:
			begin()
		default:
		}
		ill(w, r, well)
	}
}

// Refuse answers with a Status, as API servers do.
func Refuse(w http.ResponseWriter, code int, reason metav1.StatusReason, message string, causes ...metav1.StatusCause) {
	s := metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message}
	if len(causes) > 0 {
		s.Details = &metav1.StatusDetails{Causes: causes}
	}
	Answer(w, code, s)
}

// Answer answers with an object in JSON.
func Answer(w http.ResponseWriter, code int, o any) {
	raw, err := json.Marshal(o)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(raw) // who asked may be gone
}
