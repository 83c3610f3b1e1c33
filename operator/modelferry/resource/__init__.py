"""The ModelArtifact as typed, frozen data. No other package knows the resource's structure."""

GROUP = "modelferry.dev"
VERSION = "v1alpha1"
PLURAL = "modelartifacts"
KIND = "ModelArtifact"
API_VERSION = f"{GROUP}/{VERSION}"
