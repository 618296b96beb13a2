// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// known says where the kinds are served that the operator uses: the same in every cluster, in
// versions that do not go away. What a cluster says of itself takes 200 KiB.
var known = func() meta.RESTMapper {
	m := meta.NewDefaultRESTMapper(nil)
	add := func(scope meta.RESTScope, group, version string, kinds ...string) {
		for _, k := range kinds {
			m.Add(schema.GroupVersionKind{Group: group, Version: version, Kind: k}, scope)
		}
	}
	add(meta.RESTScopeRoot, "", "v1", "Namespace", "Node")
	add(meta.RESTScopeNamespace, "", "v1", "ConfigMap", "Pod", "Secret", "Service", "ServiceAccount")
	add(meta.RESTScopeNamespace, "apps", "v1", "DaemonSet", "Deployment")
	add(meta.RESTScopeNamespace, "policy", "v1", "PodDisruptionBudget")
	add(meta.RESTScopeNamespace, "rbac.authorization.k8s.io", "v1", "Role", "RoleBinding")
	add(meta.RESTScopeRoot, "rbac.authorization.k8s.io", "v1", "ClusterRole", "ClusterRoleBinding")
	add(meta.RESTScopeRoot, "apiextensions.k8s.io", "v1", "CustomResourceDefinition")
	add(meta.RESTScopeRoot, "fairlead.io", "v1alpha1", "NodeNetwork")
	return m
}()

// mapper is known, and for other kinds what a cluster says.
func mapper(cluster meta.RESTMapper) meta.RESTMapper {
	return meta.FirstHitRESTMapper{MultiRESTMapper: meta.MultiRESTMapper{known, cluster}}
}
