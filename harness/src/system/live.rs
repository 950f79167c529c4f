//! The live system: a Kubernetes API.
