"""A real Kubernetes on a bare Linux machine, as root, without a container engine and without a registry.

A cluster is a control plane and some nodes. Each of them has a network namespace of its own, each node also a mount
namespace with containerd, a kubelet, kube-proxy and an ext4 disk at /var/lib/modelferry. Only the standard library is
needed, so that this runs before the project's own dependencies are installed::

    with Cluster.up(nodes=2, images=[image.under_test().tar]) as cluster:
        cluster.kubectl("get", "nodes")
        cluster.nodes[0].stop_kubelet()

On the command line: ``PYTHONPATH=tests python3 -m cluster --help``.
"""

from .cluster import Cluster
from .node import Node
from .shell import ClusterError

__all__ = ["Cluster", "ClusterError", "Node"]
