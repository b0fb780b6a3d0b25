"""What every task is made of: the bases of its section, the choice of its rows, and the stages of its cells."""
