"""How long records are kept: segments, archives, pruning, holds; what is due, and whether too much or too little is there."""
