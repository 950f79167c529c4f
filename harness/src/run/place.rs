//! Where a run takes place: a cluster that stands already, or one of its own.

use std::io;
use std::path::{Path, PathBuf};

use embedded_cluster::launch::{self, Lifetime, Options, Running};
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, ClusterError, Selection};
use crate::guardian::Guardian;
use crate::heal::{HealError, Ledger, Opened};
use crate::kind::{self, KindError};

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
    /// A kind cluster: the one that `cluster up` made or adopted where there is one, else one that
    /// ends with the run.
    Kind {
        /// Its name, and what one of the run's own is made of.
        options: kind::Options,
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
    own: Option<Own>,
}

/// A cluster that ends with the run.
enum Own {
    Embedded(Running),
    Kind(Box<OwnKind>),
}

/// A kind cluster outlives any process, so a ledger and a guardian see to its end.
struct OwnKind {
    name: String,
    ledger: Ledger,
    guardian: Guardian,
}

/// The run that a cluster may be made for.
pub struct For<'a> {
    /// This program.
    pub program: &'a Path,
    /// The run's id.
    pub run: &'a str,
    /// Seed of the embedded cluster's randomness.
    pub seed: u64,
    /// The state directory.
    pub state: &'a Path,
    /// The run's journal.
    pub journal: &'a Path,
    /// Ends the making of a cluster.
    pub cancel: &'a CancellationToken,
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
    /// The kind cluster was not made or not removed.
    #[error(transparent)]
    Kind(#[from] KindError),
    /// That a cluster is made for the run could not be recorded, so none is.
    #[error(transparent)]
    State(#[from] HealError),
    /// The guardian of the run's cluster.
    #[error("start or dismiss the guardian of the run's cluster")]
    Guardian(#[source] io::Error),
    /// The user stopped it while the cluster was made.
    #[error("make a cluster for the run: cancelled")]
    Cancelled,
}

impl Place {
    /// Finds the cluster, or starts one that ends with this process.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub async fn stand(&self, run: &For<'_>) -> Result<Standing, PlaceError> {
        match self {
            Self::Embedded { name, images, namespace } => {
                if launch::find(name).is_some() {
                    return Standing::find(self).await;
                }
                let own = launch::start(&Options {
                    program: run.program.to_owned(),
                    name: run.cluster_name(),
                    images: images.clone(),
                    port: None,
                    seed: run.seed,
                    lifetime: Lifetime::Caller,
                })?;
                let selection = Selection::Embedded { name: own.name.clone() };
                Standing::connect(selection, namespace, Some(Own::Embedded(own))).await
            }
            Self::Kind { options, namespace } if kind::find(&options.name).is_none() => {
                OwnKind::stand(options, namespace, run).await
            }
            Self::Kind { .. } | Self::Context { .. } => Standing::find(self).await,
        }
    }
}

impl For<'_> {
    fn cluster_name(&self) -> String {
        format!("run-{}-{}", self.run, std::process::id())
    }
}

impl OwnKind {
    /// Makes a cluster of which nothing is left when the run has ended, whatever ends it.
    async fn stand(options: &kind::Options, namespace: &str, run: &For<'_>) -> Result<Standing, PlaceError> {
        let name = run.cluster_name();
        let selection = Selection::Kind { name: name.clone() };
        let opened = Opened {
            run: run.run.to_owned(),
            cluster: selection.clone(),
            namespace: namespace.to_owned(),
            journal: run.journal.to_owned(),
            pid: std::process::id(),
        };
        let mut ledger = Ledger::of_cluster(run.state, opened)?;
        let guardian = Guardian::start(run.program, ledger.path()).map_err(PlaceError::Guardian)?;
        ledger.made_cluster(&name)?;
        let options = kind::Options { name: name.clone(), ..options.clone() };
        let made = run.cancel.run_until_cancelled(kind::up(&options, &mut |_| {})).await;
        let own = Box::new(Self { name, ledger, guardian });
        let connected = match made {
            Some(Ok(_)) => Cluster::connect(&selection, namespace).await.map_err(PlaceError::from),
            Some(Err(error)) => Err(error.into()),
            None => Err(PlaceError::Cancelled),
        };
        match connected {
            Ok(cluster) => Ok(Standing { cluster, selection, own: Some(Own::Kind(own)) }),
            Err(error) => {
                own.end().await?;
                Err(error)
            }
        }
    }

    /// Removes it; where that fails, the ledger stays, and the guardian tries as well.
    async fn end(mut self) -> Result<(), PlaceError> {
        kind::down(&self.name, &mut |_| {}).await?;
        self.ledger.removed_cluster(&self.name)?;
        self.ledger.close()?;
        self.guardian.dismiss().map_err(PlaceError::Guardian)
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
            Place::Kind { options, namespace } => {
                Self::connect(Selection::Kind { name: options.name.clone() }, namespace, None).await
            }
            Place::Context { kubeconfig, context, namespace } => {
                let selection = Selection::Context { kubeconfig: kubeconfig.clone(), context: context.clone() };
                Self::connect(selection, namespace, None).await
            }
        }
    }

    async fn connect(selection: Selection, namespace: &str, own: Option<Own>) -> Result<Self, PlaceError> {
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
    /// [`PlaceError::Launch`], [`PlaceError::Kind`] where something of it is left.
    pub async fn leave(self) -> Result<(), PlaceError> {
        match self.own {
            Some(Own::Embedded(own)) => launch::stop(&own.name).map(drop).map_err(PlaceError::from),
            Some(Own::Kind(own)) => own.end().await,
            None => Ok(()),
        }
    }
}
