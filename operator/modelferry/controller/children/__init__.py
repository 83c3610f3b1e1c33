"""The objects that the operator makes, as pure functions: ConfigMaps, volumes and pods."""
