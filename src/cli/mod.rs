//! What a person types and sees.

pub mod simulate;
