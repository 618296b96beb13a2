// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/fairlead-io/fairlead/internal/probe"
)

const (
	// atOnce is how many logs of a cluster are read at a time, podTimeout how long one may take.
	atOnce     = 16
	podTimeout = 5 * time.Second
	// maxWindow bounds what is read, and so do the lines and bytes of a log: a report is
	// a line of 1 to 3 KiB a second.
	maxWindow   = 2 * time.Minute
	spareLines  = 30
	bytesOfLine = 6 << 10
	// leeway is what a log is read beyond the window: its reports are not on the second.
	leeway = 2 * time.Second
)

// Collector reads what a cluster's probes report. It remembers when it last heard of each
// pod: keep one for a cluster while its probes run.
type Collector struct {
	client corev1client.CoreV1Interface
	now    func() time.Time

	mu    sync.Mutex
	heard map[types.UID]heard
	// until is when all were read last.
	until time.Time
}

// heard is what is remembered of a pod.
type heard struct {
	known  time.Time // since when it is looked at without a break
	last   time.Time // when a new report was last found
	newest time.Time // the end of the newest report, by the node's clock
}

// New returns a collector for the cluster at cfg.
func New(cfg *rest.Config) (*Collector, error) {
	own := rest.CopyConfig(cfg)
	own.QPS = -1 // atOnce is the bound
	client, err := corev1client.NewForConfig(own)
	if err != nil {
		return nil, fmt.Errorf("reading probes: %w", err)
	}
	return &Collector{client: client, now: time.Now, heard: map[types.UID]heard{}}, nil
}

// Read returns what each node's probes have measured since then, by the names of nodes. Of
// each node it is the newest reports of that long a time, by the node's own clock, at most
// of two minutes. A node that cannot be read says why; the error is about all of them.
func (c *Collector) Read(ctx context.Context, namespace string, since time.Time) ([]NodeReading, error) {
	// The API server's cache is good enough, and cheap.
	list, err := c.client.Pods(namespace).List(ctx, metav1.ListOptions{
		LabelSelector: labels.SelectorFromSet(selector()).String(), ResourceVersion: "0",
	})
	if err != nil {
		return nil, fmt.Errorf("listing the probes' pods in namespace %s: %w", namespace, err)
	}
	pods := newestOfNodes(list.Items)
	c.begin(pods)
	defer c.end()
	window := min(c.now().Sub(since), maxWindow)
	out := make([]NodeReading, len(pods))
	room := make(chan struct{}, atOnce)
	var running sync.WaitGroup
	for i := range pods {
		room <- struct{}{}
		running.Go(func() {
			defer func() { <-room }()
			out[i] = c.readPod(ctx, &pods[i], window)
		})
	}
	running.Wait()
	return out, nil
}

// newestOfNodes returns the pod of each node that is not about to end, by the nodes' names.
func newestOfNodes(pods []corev1.Pod) []corev1.Pod {
	pods = slices.DeleteFunc(pods, func(p corev1.Pod) bool {
		return p.Spec.NodeName == "" && nodeOfPending(&p) == "" || p.DeletionTimestamp != nil
	})
	slices.SortFunc(pods, func(a, b corev1.Pod) int {
		return cmp.Or(cmp.Compare(nodeOf(&a), nodeOf(&b)), b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return slices.CompactFunc(pods, func(a, b corev1.Pod) bool { return nodeOf(&a) == nodeOf(&b) })
}

// nodeOf returns the node that a pod runs on, or is for.
func nodeOf(p *corev1.Pod) string { return cmp.Or(p.Spec.NodeName, nodeOfPending(p)) }

// nodeOfPending returns the node that the DaemonSet's controller made a pod for.
func nodeOfPending(p *corev1.Pod) string {
	if p.Spec.Affinity == nil || p.Spec.Affinity.NodeAffinity == nil || p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return ""
	}
	for _, term := range p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, f := range term.MatchFields {
			if f.Key == metav1.ObjectNameField && len(f.Values) == 1 {
				return f.Values[0]
			}
		}
	}
	return ""
}

// readPod reads one log. Whatever goes wrong is told in the reading.
func (c *Collector) readPod(ctx context.Context, pod *corev1.Pod, window time.Duration) NodeReading {
	r := NodeReading{Node: nodeOf(pod), Pod: pod.Name, Ready: isReady(pod), Why: waiting(pod)}
	if len(pod.Spec.Containers) > 0 {
		r.Image = pod.Spec.Containers[0].Image
	}
	var reports []probe.Report
	if hasLog(pod) {
		var err error
		if reports, err = c.readLog(ctx, pod, window); err != nil && r.Why == "" {
			r.Why = fmt.Sprintf("its log cannot be read: %v", err)
		}
	}
	newest := time.Time{}
	for _, one := range reports {
		if one.To.After(newest) {
			newest = one.To
		}
	}
	for _, one := range reports {
		// The node's clock may differ from ours; its newest report is as good as now.
		if one.To.After(newest.Add(-window)) {
			r.add(one)
		}
	}
	r.Known, r.LastTo = c.remember(pod.UID, newest)
	return r
}

func (c *Collector) readLog(ctx context.Context, pod *corev1.Pod, window time.Duration) ([]probe.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, podTimeout)
	defer cancel()
	seconds := int64(math.Ceil((window + leeway).Seconds()))
	lines := seconds + spareLines
	limit := lines * bytesOfLine
	log, err := c.client.Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{
		Container: pod.Spec.Containers[0].Name, SinceSeconds: &seconds, TailLines: &lines, LimitBytes: &limit,
	}).Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	return probe.Decode(io.LimitReader(log, limit))
}

// remember returns since when a pod is known, and when a new report was last found.
func (c *Collector) remember(pod types.UID, newest time.Time) (known, last time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, now := c.heard[pod], c.now()
	if h.known.IsZero() {
		h.known = now
	}
	if newest.After(h.newest) {
		h.last, h.newest = now, newest
	}
	c.heard[pod] = h
	return h.known, h.last
}

// begin forgets pods that are no more, and after a break that it knew the others: nothing
// was heard of them because nobody listened.
func (c *Collector) begin(pods []corev1.Pod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.heard
	c.heard = make(map[types.UID]heard, len(pods))
	listened := c.now().Sub(c.until) < silence
	for _, p := range pods {
		if h, known := before[p.UID]; known {
			if !listened {
				h.known = time.Time{}
			}
			c.heard[p.UID] = h
		}
	}
}

func (c *Collector) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = c.now()
}
