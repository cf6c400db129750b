"""What the results of a run say: tables read, grouped, ranked and compared with published values."""
