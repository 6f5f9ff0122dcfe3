"""Where Hydra looks for plugins; hydra_plugins is a namespace that packages share."""

from arcmargin.sweeps import sweeper


class GridSweeper(sweeper.GridSweeper):
    pass


class SearchSweeper(sweeper.SearchSweeper):
    pass


class StudySweeper(sweeper.StudySweeper):
    pass
