// SPDX-License-Identifier: Apache-2.0

package fleetmetrics

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// DefaultClusters is how many clusters have series of their own unless somebody says otherwise.
const DefaultClusters = 1000

// patience is how long a scrape waits for the cache.
const patience = 5 * time.Second

// Options say what is collected.
type Options struct {
	// Reader is the manager's cache.
	Reader client.Reader
	// Clusters bounds the clusters that have series of their own, the first ones by
	// namespace and name. 0: none; what all do together is in the series of waves.
	Clusters int
	// Acting is closed once this operator acts; until then nothing is collected, or two
	// replicas would count each cluster twice. Nil: it acts.
	Acting <-chan struct{}
}

// Setup registers the collector for a manager's operator. Where the process has had an
// operator before, as tests do, the new one takes its place.
func Setup(mgr manager.Manager, registry prometheus.Registerer, clusters int) error {
	c := New(Options{Reader: mgr.GetClient(), Clusters: clusters, Acting: mgr.Elected()})
	err := registry.Register(c)
	var before prometheus.AlreadyRegisteredError
	if errors.As(err, &before) {
		registry.Unregister(before.ExistingCollector)
		err = registry.Register(c)
	}
	return err
}

// Collector collects the fleet's metrics.
type Collector struct {
	options Options
}

// New makes a collector.
func New(o Options) *Collector { return &Collector{o} }

var (
	phaseDesc = prometheus.NewDesc("fairlead_stack_rollout_phase", "1 for the phase that the rollout of a NetworkStack is in, 0 for the others.",
		[]string{"namespace", "stack", "phase"}, nil)
	stackReadyDesc = prometheus.NewDesc("fairlead_stack_ready", "1 while a NetworkStack is Ready at its newest generation.", []string{"namespace", "stack"}, nil)
	waveDesc       = prometheus.NewDesc("fairlead_wave_clusters", "Clusters of a wave by how far they are; each is counted once.",
		[]string{"namespace", "stack", "wave", "state"}, nil)

	ofCluster        = []string{"namespace", "stack", "cluster"}
	readyDesc        = prometheus.NewDesc("fairlead_cluster_ready", "1 while a cluster's ClusterStack is Ready at its newest generation.", ofCluster, nil)
	provenDesc       = prometheus.NewDesc("fairlead_cluster_proven", "1 while the configuration that a cluster shall have is proven by packets.", ofCluster, nil)
	nodesDesc        = prometheus.NewDesc("fairlead_cluster_nodes", "Nodes of a cluster.", ofCluster, nil)
	updatedDesc      = prometheus.NewDesc("fairlead_cluster_nodes_updated", "Nodes of a cluster whose agent runs the wanted version.", ofCluster, nil)
	acknowledgedDesc = prometheus.NewDesc("fairlead_cluster_nodes_acknowledged", "Updated nodes of a cluster whose agent has acknowledged its state.", ofCluster, nil)
	omittedDesc      = prometheus.NewDesc("fairlead_clusters_omitted", "Clusters that have no series of their own, because there are more than --metrics-clusters.", nil, nil)
)

// phases are those of a rollout.
var phases = []v1alpha1.RolloutPhase{
	v1alpha1.RolloutComplete, v1alpha1.RolloutProgressing, v1alpha1.RolloutPaused, v1alpha1.RolloutWaiting, v1alpha1.RolloutRollingBack, v1alpha1.RolloutStopped,
}

// Describe is prometheus.Collector's.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{phaseDesc, stackReadyDesc, waveDesc, readyDesc, provenDesc, nodesDesc, updatedDesc, acknowledgedDesc, omittedDesc, rangesDesc, runsOutDesc, poolClustersDesc} {
		ch <- d
	}
}

// Collect is prometheus.Collector's.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	if !c.acts() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.stacks(ctx, ch); err != nil {
		ch <- prometheus.NewInvalidMetric(phaseDesc, fmt.Errorf("listing NetworkStacks: %w", err))
	}
	if err := c.clusters(ctx, ch); err != nil {
		ch <- prometheus.NewInvalidMetric(readyDesc, fmt.Errorf("listing ClusterStacks: %w", err))
	}
	if err := c.pools(ctx, ch); err != nil {
		ch <- prometheus.NewInvalidMetric(rangesDesc, fmt.Errorf("listing FleetPools: %w", err))
	}
}

func (c *Collector) acts() bool {
	if c.options.Acting == nil {
		return true
	}
	select {
	case <-c.options.Acting:
		return true
	default:
		return false
	}
}

func (c *Collector) stacks(ctx context.Context, ch chan<- prometheus.Metric) error {
	var l v1alpha1.NetworkStackList
	// Nothing is written to what is read: it need not be copied.
	if err := c.options.Reader.List(ctx, &l, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	for i := range l.Items {
		s := &l.Items[i]
		gauge(ch, stackReadyDesc, one(s.Status.ObservedGeneration == s.Generation && meta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ConditionReady)), s.Namespace, s.Name)
		for _, p := range phases {
			gauge(ch, phaseDesc, one(s.Status.Rollout.Phase == p), s.Namespace, s.Name, string(p))
		}
		for _, w := range s.Status.Rollout.Waves {
			for state, n := range map[string]int32{
				"proven": w.Proven, "updating": w.Updating, "waiting": w.Waiting, "away": w.Away, "held": w.Held, "failed": w.Failed,
			} {
				gauge(ch, waveDesc, float64(n), s.Namespace, s.Name, w.Name, state)
			}
		}
	}
	return nil
}

func (c *Collector) clusters(ctx context.Context, ch chan<- prometheus.Metric) error {
	var l v1alpha1.ClusterStackList
	if err := c.options.Reader.List(ctx, &l, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	all := make([]*v1alpha1.ClusterStack, 0, len(l.Items))
	for i := range l.Items {
		all = append(all, &l.Items[i])
	}
	// Always the same ones have series, or each scrape would begin new ones.
	slices.SortFunc(all, func(a, b *v1alpha1.ClusterStack) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	shown := all[:min(len(all), max(0, c.options.Clusters))]
	gauge(ch, omittedDesc, float64(len(all)-len(shown)))
	for _, cs := range shown {
		labels := []string{cs.Namespace, cs.Spec.NetworkStack, cs.Name}
		observed := cs.Status.ObservedGeneration == cs.Generation
		gauge(ch, readyDesc, one(observed && meta.IsStatusConditionTrue(cs.Status.Conditions, v1alpha1.ConditionReady)), labels...)
		gauge(ch, provenDesc, one(cs.Status.Proven != nil && cs.Status.Proven.PlanDigest == cs.Spec.PlanDigest), labels...)
		gauge(ch, nodesDesc, float64(cs.Status.Nodes.Total), labels...)
		gauge(ch, updatedDesc, float64(cs.Status.Nodes.Updated), labels...)
		gauge(ch, acknowledgedDesc, float64(cs.Status.Nodes.Acknowledged), labels...)
	}
	return nil
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, value float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
