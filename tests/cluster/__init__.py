"""Real Kubernetes clusters on a Linux machine, as root, without a container engine and without a registry.

A cluster has a control plane and nodes. Each of them has a network namespace; each node also has a mount namespace with
containerd, a kubelet, kube-proxy and an ext4 disk at /var/lib/modelferry. This package uses only the standard library,
so it runs before the project's dependencies are installed::

    with Cluster.up(nodes=2, images=[image.project_image().tar]) as cluster:
        cluster.kubectl("get", "nodes")
        cluster.nodes[0].stop_kubelet()

On the command line: ``PYTHONPATH=tests python3 -m cluster --help``.
"""

from .cluster import Cluster
from .node import Node
from .shell import ClusterError

__all__ = ["Cluster", "ClusterError", "Node"]
