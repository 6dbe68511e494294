//! Scripts of the machine: commands in, outcomes and state out.
