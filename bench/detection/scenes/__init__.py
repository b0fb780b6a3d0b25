"""`bench predict`: scenes of any size."""
