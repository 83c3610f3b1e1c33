"""What runs in a pod: resolve, prepare, remove, fetch, checkpoint; and ``wait``, in the pods of a model's consumers."""
