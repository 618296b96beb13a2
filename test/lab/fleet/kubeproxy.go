// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"bytes"
	"context"
	_ "embed"
	"net/netip"
	"strings"
	"text/template"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/test/lab/kube"
	"github.com/fairlead-io/fairlead/test/lab/node"
	"github.com/fairlead-io/fairlead/test/lab/plan"
)

//go:embed kube-proxy.yaml
var kubeProxyManifest string

// KubeProxy applies kube-proxy to a workload cluster, as the DaemonSet that kubeadm makes of it,
// so that whoever takes Services over finds there what there is in other clusters.
func KubeProxy(ctx context.Context, c client.Client, cluster plan.Cluster) error {
	objects, err := kubeProxyObjects(cluster)
	if err != nil {
		return err
	}
	return apply(ctx, c, objects...)
}

func kubeProxyObjects(cluster plan.Cluster) ([]*unstructured.Unstructured, error) {
	t, err := template.New("kube-proxy").Parse(kubeProxyManifest)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, map[string]any{
		"Image": kube.PauseImage, "Bin": node.BinDir, "API": cluster.APIURL(), "PodCIDRs": joined(cluster.PodCIDRs),
	}); err != nil {
		return nil, err
	}
	return parse(out.Bytes())
}

func joined(ranges []netip.Prefix) string {
	var out []string
	for _, r := range ranges {
		out = append(out, r.String())
	}
	return strings.Join(out, ",")
}
