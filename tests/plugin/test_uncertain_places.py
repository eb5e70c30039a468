"""Where to look next: connected areas of low confidence."""

import numpy as np

from napari_dinoiser.uncertain_places import PlaceTour, uncertain_places


def test_the_largest_comes_first_and_specks_are_left_out():
    confidence = np.ones((200, 200))
    confidence[10:14, 20:30] = 0.3
    confidence[100:150, 50:60] = 0.4
    confidence[5, 5] = 0.1
    places = uncertain_places(confidence)
    assert [place.pixels for place in places] == [500, 40]
    assert (places[1].rows, places[1].columns) == (slice(10, 14), slice(20, 30))


def test_a_tour_begins_again_after_the_last():
    places = uncertain_places(np.where(np.eye(9) > 0, 0.2, 0.9))
    tour = PlaceTour(places)
    steps = [tour.step() for _ in range(len(places) + 1)]
    assert steps == [*places, places[0]]
    assert PlaceTour([]).step() is None
