"""The ModelArtifact as typed, frozen data. Nothing outside this room knows the resource's shape."""

GROUP = "modelferry.dev"
VERSION = "v1alpha1"
PLURAL = "modelartifacts"
KIND = "ModelArtifact"
API_VERSION = f"{GROUP}/{VERSION}"
