//! Stage set: the stages of a run, each on a task of its own, connected by channels that hold one element.

use tokio::{sync::mpsc, task::JoinHandle};

use super::PipelineError;
use crate::rate::StopSignal;

/// The stages that were started, the first one first. An error, or a panic, of one ends all of them.
pub(super) struct StageSet {
    stop: StopSignal,
    tasks: Vec<JoinHandle<Result<(), PipelineError>>>,
}

impl StageSet {
    pub(super) fn new(stop: &StopSignal) -> Self {
        Self {
            stop: stop.clone(),
            tasks: Vec::new(),
        }
    }

    /// Starts a stage that passes elements on; gives the end at which they arrive.
    pub(super) fn add<T, F>(&mut self, stage: impl FnOnce(mpsc::Sender<T>) -> F) -> mpsc::Receiver<T>
    where
        F: Future<Output = Result<(), PipelineError>> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(1);
        self.add_last(stage(sender));
        receiver
    }

    /// Starts a stage that passes nothing on.
    pub(super) fn add_last(
        &mut self,
        stage: impl Future<Output = Result<(), PipelineError>> + Send + 'static,
    ) {
        let stop = self.stop.clone();
        let task = tokio::spawn(stage);
        self.tasks.push(tokio::spawn(async move {
            let ended = task.await.unwrap_or_else(|error| Err(error.into()));
            if ended.is_err() {
                stop.cancel();
            }
            ended
        }));
    }

    /// Waits until all stages have ended. The error of the first one counts: the cause comes before its
    /// consequences, as a stage whose neighbour is gone ends without an error.
    pub(super) async fn join(self) -> Result<(), PipelineError> {
        let mut first = Ok(());
        for task in self.tasks {
            let ended = task.await.unwrap_or_else(|error| Err(error.into()));
            first = first.and(ended);
        }
        first
    }
}
