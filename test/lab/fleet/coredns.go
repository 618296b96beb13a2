// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"bytes"
	"context"
	_ "embed"
	"text/template"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/test/lab/kube"
	"github.com/fairlead-io/fairlead/test/lab/plan"
)

//go:embed coredns.yaml
var coreDNSManifest string

// CoreDNS applies cluster DNS to a workload cluster. Its pods wait until the cluster has a network.
func CoreDNS(ctx context.Context, c client.Client, cluster plan.Cluster) error {
	objects, err := coreDNSObjects(cluster)
	if err != nil {
		return err
	}
	return apply(ctx, c, objects...)
}

func coreDNSObjects(cluster plan.Cluster) ([]*unstructured.Unstructured, error) {
	t, err := template.New("coredns").Parse(coreDNSManifest)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, map[string]any{"Image": kube.CoreDNSImage, "Addresses": cluster.DNS}); err != nil {
		return nil, err
	}
	return parse(out.Bytes())
}
