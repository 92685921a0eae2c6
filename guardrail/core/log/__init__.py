"""Records, their chain, their Merkle tree, signed checkpoints, and the proofs about them."""
