//! Departure: a request's body that leaves in time or not at all.
//!
//! A process may be stopped for any length of time between any two of its steps, and go on where it was. By then another
//! process may have found that the batch is not stored, and sent its tokens itself. So the last piece of a body is handed over
//! only as long as nobody else can have concluded anything: without it the request is incomplete, and nothing of it is stored.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use thiserror::Error;

use crate::domain::Moment;

/// So many bytes are held back to the last.
const LAST_PIECE: usize = 1024;

/// Until when the body of a batch may leave.
#[derive(Debug, Clone, Copy)]
pub struct SendDeadline {
    /// When the ledger recorded that the batch is about to leave.
    pub intended: Moment,
    /// For how long from then on it may.
    pub within: Duration,
}

/// The request was abandoned before all of it had left.
#[derive(Debug, Error)]
#[error("the request was held up for too long before it could leave")]
pub(super) struct TooLate;

/// The bytes, in two pieces.
pub(super) struct DeadlineBody {
    first: Bytes,
    last: Bytes,
    deadline: SendDeadline,
}

impl DeadlineBody {
    pub(super) fn new(mut bytes: Bytes, deadline: SendDeadline) -> Self {
        let last = bytes.split_off(bytes.len().saturating_sub(LAST_PIECE));
        Self {
            first: bytes,
            last,
            deadline,
        }
    }
}

impl Body for DeadlineBody {
    type Data = Bytes;
    type Error = TooLate;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TooLate>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        if self.deadline.intended.elapsed() > self.deadline.within {
            return Poll::Ready(Some(Err(TooLate)));
        }
        let piece = if self.first.is_empty() {
            std::mem::take(&mut self.last)
        } else {
            std::mem::take(&mut self.first)
        };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_empty() && self.last.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact((self.first.len() + self.last.len()) as u64)
    }
}

/// Whether a request failed because its body did not leave in time.
pub(super) fn was_too_late(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(<dyn std::error::Error>::is::<TooLate>)
}
