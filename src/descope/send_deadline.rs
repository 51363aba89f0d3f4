//! Send deadline: the body of a request leaves in time or not completely.
//!
//! A process may be suspended for any time between two of its steps. Meanwhile another process may have found
//! that the batch is not stored, and sent its tokens itself. So the last piece of a body is released only
//! while no other process can have concluded anything: without it the request is incomplete, and nothing of
//! it is stored.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use thiserror::Error;

use crate::domain::Moment;

/// Number of bytes that are held back until last.
const LAST_PIECE: usize = 1024;

/// The deadline for sending the body of a batch.
#[derive(Debug, Clone, Copy)]
pub struct SendDeadline {
    /// Time at which the ledger recorded that the batch is about to be sent.
    pub intended: Moment,
    /// Maximum time from then on.
    pub within: Duration,
}

/// The error of a request that was abandoned before all of it was sent.
#[derive(Debug, Error)]
#[error("the request was delayed for too long before all of it was sent")]
pub(super) struct TooLate;

/// A request body in two pieces.
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

/// Returns true if a request failed because its body was not sent in time.
pub(super) fn was_too_late(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(<dyn std::error::Error>::is::<TooLate>)
}
