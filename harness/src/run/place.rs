//! Where a run takes place: a cluster that stands already, or one of its own.

use std::path::{Path, PathBuf};

use embedded_cluster::launch::{self, Lifetime, Options, Running};

use crate::cluster::{Cluster, ClusterError, Selection};

/// The name of the embedded cluster that `cluster up` starts.
pub const DEFAULT_NAME: &str = "gameday";

/// What the user asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The embedded cluster: the one that `cluster up` started where it runs, else one that
    /// lives as long as the run.
    Embedded {
        /// Its name.
        name: String,
        /// The OCI layout it pulls from.
        images: PathBuf,
        /// The namespace.
        namespace: String,
    },
    /// The kind cluster that `cluster up` made or adopted.
    Kind {
        /// Its name.
        name: String,
        /// The namespace.
        namespace: String,
    },
    /// A kubeconfig context.
    Context {
        /// `--kubeconfig`.
        kubeconfig: Option<PathBuf>,
        /// `--context`.
        context: String,
        /// The namespace.
        namespace: String,
    },
}

/// A cluster that answers, and whether it is ours to end.
pub struct Standing {
    cluster: Cluster,
    selection: Selection,
    own: Option<Running>,
}

/// The cluster could not be started, reached or left.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The embedded cluster did not start or stop.
    #[error(transparent)]
    Launch(#[from] launch::LaunchError),
    /// The cluster did not answer.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

impl Place {
    /// Finds the cluster, or starts one that ends with this process.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub async fn stand(&self, program: &Path, run: &str, seed: u64) -> Result<Standing, PlaceError> {
        match self {
            Self::Embedded { name, images, namespace } => {
                if launch::find(name).is_some() {
                    return Standing::find(self).await;
                }
                let own = launch::start(&Options {
                    program: program.to_owned(),
                    name: format!("run-{run}-{}", std::process::id()),
                    images: images.clone(),
                    port: None,
                    seed,
                    lifetime: Lifetime::Caller,
                })?;
                let selection = Selection::Embedded { name: own.name.clone() };
                Standing::connect(selection, namespace, Some(own)).await
            }
            Self::Kind { .. } | Self::Context { .. } => Standing::find(self).await,
        }
    }
}

impl Standing {
    /// Finds a cluster that stands already; never starts one.
    ///
    /// # Errors
    /// [`PlaceError::Cluster`].
    pub async fn find(place: &Place) -> Result<Self, PlaceError> {
        match place {
            Place::Embedded { name, namespace, .. } => {
                Self::connect(Selection::Embedded { name: name.clone() }, namespace, None).await
            }
            Place::Kind { name, namespace } => {
                Self::connect(Selection::Kind { name: name.clone() }, namespace, None).await
            }
            Place::Context { kubeconfig, context, namespace } => {
                let selection = Selection::Context { kubeconfig: kubeconfig.clone(), context: context.clone() };
                Self::connect(selection, namespace, None).await
            }
        }
    }

    async fn connect(selection: Selection, namespace: &str, own: Option<Running>) -> Result<Self, PlaceError> {
        let cluster = Cluster::connect(&selection, namespace).await?;
        Ok(Self { cluster, selection, own })
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// How another process finds it.
    #[must_use]
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Whether the cluster is the run's own, and ends with it.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Ends the cluster if it is the run's own.
    ///
    /// # Errors
    /// [`PlaceError::Launch`] where something of it is left.
    pub fn leave(self) -> Result<(), PlaceError> {
        if let Some(own) = self.own {
            launch::stop(&own.name)?;
        }
        Ok(())
    }
}
